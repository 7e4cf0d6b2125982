import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { startTestServer, type TestServer } from './test-server.ts'

/**
 * Program: one database server for a run of the suite, started when the first test file asks. Prints the path of the
 * socket at which it answers, and ends with its standard input, so that a killed run leaves nothing behind.
 */
const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-broker-'))
const socketPath = path.join(folder, 'socket')
let server: Promise<TestServer> | undefined

const broker = net.createServer((socket) => {
  socket.on('error', () => {})
  server ??= startTestServer()
  server.then(
    ({ admin, template }) => socket.end(JSON.stringify({ admin, template })),
    (error: unknown) => socket.end(JSON.stringify({ error: String(error) })),
  )
})

async function leave(): Promise<void> {
  broker.close()
  const started = await server?.catch(() => undefined)
  await started?.stop()
  rmSync(folder, { recursive: true, force: true })
}

broker.listen(socketPath, () => process.stdout.write(`${socketPath}\n`))
process.stdin.once('close', leave).resume()
// Ctrl-C reaches the whole process group; the run decides when it is over
process.on('SIGINT', () => {})
