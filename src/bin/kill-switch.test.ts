import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packageRoot } from '#config'
import { Toggles } from '#federation'
import { systemRuntime } from '#runtime'
import { FederatedPool, loopbackHosts } from '../testkit/federated-pool.ts'
import { temporaryFolder } from '../testkit/temporary-folder.ts'
import { killSwitchFilesThere } from './kill-switch-files.ts'

const folder = temporaryFolder()
const file = path.join(folder.path, 'fed_disable')
let toggles: Toggles
let pool: FederatedPool
let neighbour: http.Server
/** Requests that reached the neighbour. */
let reached = 0

beforeAll(async () => {
  const later = { on: () => toggles.on(), register: (abort: () => void) => toggles.register(abort) }
  pool = await FederatedPool.open('anna', { killSwitch: later })
  toggles = await Toggles.open({
    database: pool.db.database,
    runtime: systemRuntime,
    filesThere: () => killSwitchFilesThere([file], systemRuntime),
    whyNoWrite: async () => undefined,
    onFlip: () => {},
    onProblem: () => {},
  })
  neighbour = http.createServer((request, response) => {
    reached++
    response.writeHead(200, { 'content-type': 'application/json' })
    // a stream that would never end by itself
    if (request.url === '/v1/federation/stream') response.write('{')
    else response.end('{}')
  })
  await new Promise<void>((resolve) => neighbour.listen(0, '127.0.0.1', resolve))
  loopbackHosts.push(host())
})
afterAll(async () => {
  toggles[Symbol.dispose]()
  neighbour.closeAllConnections()
  neighbour.close()
  await pool[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const host = () => `127.0.0.1:${(neighbour.address() as { port: number }).port}`
const callOut = () =>
  pool.federation.outbound.call({ url: `http://${host()}` }, { method: 'GET', target: '/v1/federation/info' })

async function doors(): Promise<{ method: string; path: string }[]> {
  const { paths } = (await (await fetch(`${pool.url}/openapi.json`)).json()) as { paths: Record<string, object> }
  return Object.entries(paths).flatMap(([door, operations]) =>
    door.startsWith('/v1/federation/')
      ? Object.keys(operations).map((method) => ({ method: method.toUpperCase(), path: door }))
      : [],
  )
}

async function knock({ method, path: door }: { method: string; path: string }): Promise<number> {
  const body = method === 'GET' ? {} : { body: '{}', headers: { 'content-type': 'application/json' } }
  return (await fetch(pool.url + door, { method, ...body })).status
}

const flips = {
  'the command': {
    off: () => toggles.set('kill', true, { actor: 'owner.key', reason: '' }),
    on: () => toggles.set('kill', false, { actor: 'owner.key', reason: '' }),
  },
  'a file': { off: async () => writeFileSync(file, ''), on: () => rm(file) },
}

test.each(Object.entries(flips))(
  'a hundred requests a second each way, and %s: the very next one is refused, the next call is not made',
  async (_name, flip) => {
    const all = await doors()
    expect(all.map((door) => `${door.method} ${door.path}`)).toContain('POST /v1/federation/handshake')
    const results: { after: boolean; status: number; called: string }[] = []
    const running: Promise<unknown>[] = []
    let off = false
    const stream = await pool.federation.outbound.open(
      { url: `http://${host()}` },
      { method: 'GET', target: '/v1/federation/stream' },
    )
    if (!stream.ok) throw new Error(stream.message)
    let reachedAtFlip = 0
    for (let n = 0; n < 100; n++) {
      if (n === 50) {
        await Promise.all(running)
        await flip.off()
        off = true
        reachedAtFlip = reached
      }
      const after = off
      const door = all[n % all.length] ?? { method: 'GET', path: '/v1/federation/info' }
      const one = async () => {
        const [status, called] = await Promise.all([knock(door), callOut()])
        results.push({ after, status, called: called.ok ? 'ok' : called.code })
      }
      running.push(one())
      await systemRuntime.sleep(10)
    }
    await Promise.all(running)
    const before = results.filter(({ after }) => !after)
    expect(before.map(({ called }) => called)).toEqual(Array(50).fill('ok'))
    expect(before.every(({ status }) => status !== 503)).toBe(true)
    const then = results.filter(({ after }) => after)
    expect(then.map(({ status, called }) => [status, called])).toEqual(Array(50).fill([503, 'killed']))
    expect(reached).toBe(reachedAtFlip)
    await expect(stream.pieces.next().then(() => stream.pieces.next())).rejects.toMatchObject({ code: 'killed' })
    await flip.on()
    expect(await knock({ method: 'GET', path: '/v1/federation/info' })).toBe(200)
  },
)

test('a stream to another pool ends, also while nothing is said on it', async () => {
  await using bela = await FederatedPool.open('bela')
  await bela.federation.office.add(pool.url, undefined)
  async function* silent() {
    yield Buffer.from('data: one\n\n')
    await new Promise(() => {})
  }
  const reply = () => ({ contentType: 'text/event-stream', pieces: silent() })
  pool.federation.serve('/v1/federation/job', { trustMin: 1, reply })
  const ask = { method: 'POST', target: '/v1/federation/job', hop: 1, chain: [bela.id] } as const
  const stream = await bela.federation.outbound.open(pool.as(2), { ...ask, body: { origin_pool_id: bela.id } })
  if (!stream.ok) throw new Error(stream.message)
  expect(String((await stream.pieces.next()).value)).toBe('data: one\n\n')
  const next = stream.pieces.next()
  next.catch(() => {})
  await flips['the command'].off()
  await expect(next).rejects.toThrow()
  await flips['the command'].on()
})

test('with the switch on every federation route is 503, and what is not federation goes on', async () => {
  await flips['a file'].off()
  for (const door of await doors()) expect(await knock(door), `${door.method} ${door.path}`).toBe(503)
  expect((await fetch(`${pool.url}/healthz`)).status).toBe(200)
  await flips['a file'].on()
})

/** Without imports that open nothing: types, and the questions what an address is. */
const opening = (source: string) =>
  source.replace(/^import (?:type .*|\{ (?:BlockList, )?isIP \} from 'node:net')$/gm, '')

test('nothing in federation opens a connection but the one way out, which asks the switch', () => {
  const rooms = ['src/federation', 'src/api/federation']
  const opens = rooms.flatMap((room) =>
    readdirSync(path.join(packageRoot, room))
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
      .filter((name) =>
        /from '(?:undici|node:(?:http|https|http2|net|tls|dgram))'|\bfetch\(|getBuiltinModule/.test(
          opening(readFileSync(path.join(packageRoot, room, name), 'utf8')),
        ),
      )
      .map((name) => `${room}/${name}`),
  )
  expect(opens).toEqual(['src/federation/outbound-socket.ts'])
})
