import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { installBundle } from './install-bundle.ts'
import { makeCluster, startTestServer, type TestServer } from './test-server.ts'

/**
 * Program: what a run of the suite needs once. Lichen, installed; at sockets named for them, a database server and a
 * cluster for pools to begin with, each made when the first test file asks. Prints its folder, and ends with its
 * standard input, so that a killed run leaves nothing behind.
 */
const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-broker-'))
let server: Promise<TestServer> | undefined
let cluster: ReturnType<typeof makeCluster> | undefined

function offer(what: string, make: () => Promise<object>): net.Server {
  const door = net.createServer((socket) => {
    socket.on('error', () => {})
    make().then(
      (made) => socket.end(JSON.stringify({ made })),
      (error: unknown) => socket.end(JSON.stringify({ error: String(error) })),
    )
  })
  return door.listen(path.join(folder, what))
}

await installBundle(path.join(folder, 'lichen'))
const doors = [
  offer('server', async () => {
    server ??= startTestServer()
    const { admin, template } = await server
    return { admin, template }
  }),
  offer('cluster', async () => {
    cluster ??= makeCluster(path.join(folder, 'first'))
    const { files } = await cluster
    return { files }
  }),
]
process.stdout.write(`${folder}\n`)

async function leave(): Promise<void> {
  for (const door of doors) door.close()
  const started = await server?.catch(() => undefined)
  await started?.stop()
  const made = await cluster?.catch(() => undefined)
  await made?.remove()
  rmSync(folder, { recursive: true, force: true })
}

process.stdin.once('close', leave).resume()
// Ctrl-C reaches the whole process group; the run decides when it is over
process.on('SIGINT', () => {})
