import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packageRoot } from '#config'
import { generateIdentity } from '#crypto'
import { type KillSwitch, Toggles } from '#federation'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { FederatedPool, loopbackHosts } from '../testkit/federated-pool.ts'
import { temporaryFolder } from '../testkit/temporary-folder.ts'
import { KillSwitchFiles } from './kill-switch-files.ts'

const folder = temporaryFolder()
const file = path.join(folder.path, 'fed_disable')
let toggles: Toggles
let pool: FederatedPool
let neighbour: http.Server
/** Targets that reached the neighbour. */
const reached: string[] = []
/** The address of `slow.example`, which is known once this is called. */
let found: ((addresses: readonly string[]) => void) | undefined
const sender = generateIdentity(systemRuntime)
/** What a pool without lending, admin requests and facts serves. */
const served = ['handshake', 'verify', 'peer/accept', 'peer/status']

beforeAll(async () => {
  const later: KillSwitch = { whyOff: () => toggles.whyOff(), register: (abort) => toggles.register(abort) }
  const resolve = () => new Promise<readonly string[]>((resolved) => (found = resolved))
  pool = await FederatedPool.open('anna', { killSwitch: later, resolve })
  const files = new KillSwitchFiles([file], systemRuntime)
  toggles = await Toggles.open({
    database: pool.db.database,
    runtime: systemRuntime,
    filesThere: () => files.there(),
    whyNoWrite: async () => undefined,
    onFlip: () => {},
    onProblem: () => {},
  })
  neighbour = http.createServer((request, response) => {
    const target = request.url ?? ''
    reached.push(target)
    // an answer that never comes, and one that would never end by itself
    if (target.endsWith('hold')) return
    response.writeHead(200, { 'content-type': 'application/json' })
    if (target.endsWith('stream')) response.write('{')
    else response.end('{}')
  })
  await new Promise<void>((resolve) => neighbour.listen(0, '127.0.0.1', resolve))
  loopbackHosts.push(host(), slowHost())
  const said = { name: 'sender', url: 'https://sender.example', moleculeId: '', capabilities: [] }
  await pool.federation.peers.introduce(sender.id as PoolId, sender.publicKey, said)
  for (const { method, path: door } of await doors()) {
    const name = door.slice('/v1/federation/'.length)
    const reply = () =>
      name === 'job' ? { contentType: 'text/event-stream', pieces: silent() } : { status: 200, body: {}, headers: [] }
    if (method === 'POST' && !served.includes(name)) pool.federation.serve(door, { trustMin: 1, reply })
  }
})
afterAll(async () => {
  toggles[Symbol.dispose]()
  neighbour.closeAllConnections()
  neighbour.close()
  await pool[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const port = () => (neighbour.address() as net.AddressInfo).port
const host = () => `127.0.0.1:${port()}`
const slowHost = () => `slow.example:${port()}`

/** Calls the neighbour; what came of it. */
async function callOut(target: string, to = host()): Promise<string> {
  const called = await pool.federation.outbound.call({ url: `http://${to}` }, { method: 'GET', target })
  return called.ok ? 'ok' : called.code
}

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

async function* silent(): AsyncGenerator<Buffer, void> {
  yield Buffer.from('data: one\n\n')
  await new Promise(() => {})
}

/** Nothing in it alone is to be refused. */
const goodHead = () => [
  `x-iamine-atom-id: ${sender.id}`,
  `x-iamine-timestamp: ${Math.floor(Date.now() / 1_000)}`,
  `x-iamine-nonce: ${'a0'.repeat(8)}`,
  `x-iamine-signature: ${Buffer.alloc(64).toString('base64')}`,
]

/** A request that has begun: all but its last byte is there. `rest` sends that, and gives the status of the answer. */
async function begun({ method, path: door }: { method: string; path: string }): Promise<() => Promise<number>> {
  const { hostname, port, host } = new URL(pool.url)
  const body = [...goodHead(), 'content-type: application/json', 'content-length: 2', '', '{}'].join('\r\n')
  const whole = `${method} ${door} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n${method === 'GET' ? '\r\n' : body}`
  const socket = net.connect(Number(port), hostname)
  const parts: Buffer[] = []
  socket.on('data', (part) => parts.push(part))
  const ended = new Promise<void>((resolve, reject) => socket.once('error', reject).once('close', () => resolve()))
  ended.catch(() => {})
  await new Promise<void>((resolve) => socket.write(whole.slice(0, -1), () => resolve()))
  return async () => {
    socket.write(whole.slice(-1))
    await ended
    return Number(Buffer.concat(parts).toString().split(' ')[1])
  }
}

const flips = {
  'the command': {
    off: async () => void (await toggles.set('kill', true, { actor: 'owner.key', reason: '' })),
    on: async () => void (await toggles.set('kill', false, { actor: 'owner.key', reason: '' })),
  },
  'a file': { off: async () => writeFileSync(file, ''), on: () => rm(file) },
}

test.each(Object.entries(flips))(
  'a hundred requests a second each way go on through %s: the very next one is refused, the next call is not made, and what runs ends',
  async (name, flip) => {
    const all = await doors()
    expect(all.map((door) => `${door.method} ${door.path}`)).toContain('POST /v1/federation/handshake')
    const to = { url: `http://${host()}` }
    const stream = await pool.federation.outbound.open(to, { method: 'GET', target: '/v1/federation/stream' })
    if (!stream.ok) throw new Error(stream.message)
    // one that has asked the switch, was let go, and does not know yet where to connect
    const slow = callOut(`/slow?${name.length}`, slowHost())
    await expect.poll(() => found, { timeout: 20_000 }).toBeDefined()
    const halves = await Promise.all(all.map(begun))

    type Phase = 'before' | 'while' | 'after'
    const now: { phase: Phase } = { phase: 'before' }
    const results: { begunAt: Phase; endedAt: Phase; held: boolean; status: number; called: string }[] = []
    const running: Promise<void>[] = []
    const one = async (n: number) => {
      const door = all[n % all.length] as (typeof all)[number]
      const begunAt = now.phase
      const held = begunAt === 'before' && n % 2 === 1
      const target = `/${begunAt}?${name.length}.${n}.${held ? 'hold' : ''}`
      const [status, called] = await Promise.all([knock(door), callOut(target)])
      results.push({ begunAt, endedAt: now.phase, held, status, called })
    }
    const waiting = () =>
      reached.filter((target) => target.startsWith(`/before?${name.length}.`) && /hold$/.test(target))
    let flipping: Promise<void> | undefined
    // nothing is waited for: some are done, some wait for the neighbour, some are on their way when it flips
    for (let [n, after] = [0, 0]; after < 50; n++) {
      if (!flipping && n >= 50 && results.length >= 10 && waiting().length >= 10) {
        now.phase = 'while'
        flipping = flip.off().finally(() => {
          now.phase = 'after'
          // the very next one, at once
          running.push(one(0))
        })
      }
      if (now.phase === 'after') after++
      running.push(one(n))
      await systemRuntime.sleep(10)
    }
    await flipping
    found?.(['127.0.0.1'])
    await Promise.all(running)

    const of = (begunAt: Phase) => results.filter((result) => result.begunAt === begunAt)
    // the next ones: refused, and not made
    expect(of('after').map(({ status, called }) => [status, called])).toEqual(Array(51).fill([503, 'killed']))
    expect(reached.filter((target) => target.startsWith('/after'))).toEqual([])
    // those on their way when it flipped: no answer that had not come yet is waited for
    const held = of('before').filter((result) => result.held)
    expect(held.length).toBeGreaterThanOrEqual(25)
    expect(held.filter(({ called }) => called !== 'killed')).toEqual([])
    expect(await slow).toBe('killed')
    expect(reached.filter((target) => target.startsWith('/slow'))).toEqual([])
    for (const [index, rest] of halves.entries()) expect(await rest(), all[index]?.path).toBe(503)
    await expect(stream.pieces.next().then(() => stream.pieces.next())).rejects.toMatchObject({ code: 'killed' })
    // and before it all was well
    const done = of('before').filter(({ endedAt, held }) => endedAt === 'before' && !held)
    expect(done.length).toBeGreaterThanOrEqual(10)
    expect(done.filter(({ status, called }) => status === 503 || called !== 'ok')).toEqual([])
    await flip.on()
    found = undefined
    expect(await knock({ method: 'GET', path: '/v1/federation/info' })).toBe(200)
    expect(await callOut('/again')).toBe('ok')
  },
)

test.each(Object.entries(flips))(
  'a stream to another pool ends by %s, also while nothing is said and nobody asks',
  async (_name, flip) => {
    await using bela = await FederatedPool.open('bela')
    await bela.federation.office.add(pool.url, undefined)
    const ask = { method: 'POST', target: '/v1/federation/job', hop: 1, chain: [bela.id] } as const
    const stream = await bela.federation.outbound.open(pool.as(2), { ...ask, body: { origin_pool_id: bela.id } })
    if (!stream.ok) throw new Error(stream.message)
    expect(String((await stream.pieces.next()).value)).toBe('data: one\n\n')
    const next = stream.pieces.next()
    next.catch(() => {})
    await flip.off()
    await expect(next).rejects.toThrow()
    await flip.on()
  },
)

test('with the switch on every federation route is 503, and what is not federation goes on', async () => {
  await flips['a file'].off()
  for (const door of await doors()) expect(await knock(door), `${door.method} ${door.path}`).toBe(503)
  expect((await fetch(`${pool.url}/healthz`)).status).toBe(200)
  await flips['a file'].on()
})

const all = (folder: string) =>
  readdirSync(path.join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !/\.(?:test|bench)\.ts$/.test(name))
    .map((name) => `${folder}/${name}`)
    .filter((name) => !name.startsWith('src/testkit/'))
    .sort()
/** Everything that is shipped, without comments. */
const sources = all('src').map((name) => ({
  name,
  code: readFileSync(path.join(packageRoot, name), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, ''),
}))
const filesWith = (pattern: RegExp) => sources.filter(({ code }) => pattern.test(code)).map(({ name }) => name)

/** A value imported from what can open a connection; types, and the questions what an address or a status is, open none. */
const opening =
  /^import (?!type )(?!\{ (?:BlockList, )?isIP \}|\{ STATUS_CODES \})[^'"]*from '(?:ws|undici|postgres|openai|(?:node:)?(?:https?|http2|net|tls|dgram|child_process))'|import\('(?:ws|undici|postgres|openai|node:(?:https?|http2|net|tls|dgram|child_process))'\)|(?<![.\w#-])fetch\(|globalThis\.fetch|getBuiltinModule\((?!'node:net'\)\.isIP\()|new (?:WebSocket|EventSource)\(/m

/** Each file that can open a connection or a door, or start a program, and to whom. A new one is looked at by a person: if it calls other pools, it must go through the first. */
const openers: Readonly<Record<string, string>> = {
  'src/federation/outbound-socket.ts': 'other pools',
  'src/artifacts/fetch-model.ts': 'workers: a model file of their pool',
  'src/bin/audit-published.ts': 'the command line of a stranger: what any pool shows to everybody',
  'src/bin/cli/doctor-checks.ts': 'the command line: an engine, and whether a port is free',
  'src/bin/cli/pool-client.ts': 'the command line: its own pool',
  'src/bin/listen.ts': 'listens',
  'src/bin/order-proxy.ts': 'a payer’s own process: the pool it buys from',
  'src/bin/local-worker-keeper.ts': 'the pool’s own worker process',
  'src/bin/refuse-settings.ts': 'nobody: whether a certificate and a key are a pair',
  'src/bin/successions-at.ts': 'the command line of a worker: its own pool, which has another key',
  'src/client/create-client.ts': 'clients: their pool',
  'src/engines/llama/process-handle.ts': 'workers: the process of the model',
  'src/engines/upstream/upstream-client.ts': 'workers: a model server',
  'src/storage/client.ts': 'the database',
  'src/storage/embedded/account.ts': 'the system’s own commands, for the database’s account',
  'src/storage/embedded/init-cluster.ts': 'the database’s own command',
  'src/storage/embedded/server-process.ts': 'the database’s process and its pipes',
  'src/storage/open-socket.ts': 'the database',
  'src/storage/process-identity.ts': 'the system’s own command: when a process began',
  'src/storage/value-types.ts': 'nobody: how values travel to the database',
  'src/transport/dial-session.ts': 'workers: their pool',
  'src/transport/worker-door.ts': 'listens',
}

test('one file of the whole program opens connections to other pools, and one place uses it, behind the switch', () => {
  expect(filesWith(opening)).toEqual(Object.keys(openers).sort())
  expect(filesWith(/outbound-socket\.ts'/)).toEqual(['src/federation/outbound.ts'])
  // they are given any URL, so the pool itself must not use them
  expect(filesWith(/audit-published\.ts'/)).toEqual(['src/bin/cli/audit.ts'])
  expect(filesWith(/successions-at\.ts'/)).toEqual(['src/bin/cli/worker.ts'])
  expect(filesWith(/\bnew Sockets\(/)).toEqual(['src/federation/outbound.ts'])
  const outbound = sources.find(({ name }) => name === 'src/federation/outbound.ts')?.code ?? ''
  expect(outbound.match(/#sockets\b(?!\[Symbol\.dispose\])/g)).toEqual(['#sockets', '#sockets'])
  const [opened = '', asked, sent] = [
    /async open\([\s\S]*?\n {2}\}\n/.exec(outbound)?.[0],
    /const off = await killSwitch\.whyOff\(\)\n +if \(off\) throw/,
    /this\.#sockets\.send\(/,
  ]
  expect(opened.search(sent)).toBeGreaterThan(opened.search(asked))
  expect(opened.search(asked)).toBeGreaterThan(opened.search(/killSwitch\.register\(/))
  expect(opened.search(/killSwitch\.register\(/)).toBeGreaterThan(0)
})

test('while the database is slow nobody is called and nobody is answered, and everybody is told that, not that somebody switched it off', async () => {
  const { heartbeats, office, peers } = pool.federation
  const neighbour = await office.add(pool.url).catch((error: Error) => error.message)
  expect(neighbour).toBe('This is the pool itself.')
  const key = generateIdentity(systemRuntime)
  const said = { name: 'bert', url: `http://${host()}`, moleculeId: '', capabilities: [] }
  await peers.introduce(key.id as PoolId, key.publicKey, said)
  const done = Promise.withResolvers<void>()
  const slow = pool.db.database.transaction(async (tx) => {
    await tx`lock table federation_toggles in access exclusive mode`
    await done.promise
  })
  await expect.poll(() => callOut('/slow-database'), { timeout: 20_000 }).toBe('switch_unknown')
  const answer = await fetch(`${pool.url}/v1/federation/info`)
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
  expect(await answer.json()).toEqual({ error: expect.stringMatching(/^switch_unknown: /) })
  const peer = peers.get(key.id as PoolId)
  if (!peer) throw new Error('not known')
  expect((await heartbeats.look(peer)).problem).toContain('cannot read its own federation switch')
  await expect(office.add(`http://${host()}`)).rejects.toMatchObject({ refusal: { code: 'federation_unknown' } })
  done.resolve()
  await slow
  await expect.poll(() => callOut('/again'), { timeout: 20_000 }).toBe('ok')
  await toggles.set('kill', true, { actor: 'owner.key', reason: '' })
  await expect(office.add(`http://${host()}`)).rejects.toMatchObject({ refusal: { code: 'federation_off' } })
  expect((await heartbeats.look(peer)).problem).toBe('Federation is switched off here.')
  await toggles.set('kill', false, { actor: 'owner.key', reason: '' })
})

test('whatever calls another pool does so through the one way out, and the switch of each is the real one', () => {
  // a call site: a method of an `outbound`, in whatever object it lies
  const site = /\boutbound\s*\.(?:call|open)\(/gi
  const sites = sources.flatMap(({ name, code }) => {
    const calls = code.match(site)?.length ?? 0
    return calls > 0 ? [`${name} ${calls}`] : []
  })
  expect(sites).toEqual([
    'src/bin/lending/borrow-run.ts 2',
    'src/bin/lending/remote-receipts.ts 1',
    'src/bin/lending/statements.ts 1',
    'src/bin/open-admin-requests.ts 1',
    'src/bin/run-audit-against.ts 1',
    'src/federation/bonds.ts 1',
    'src/federation/facts/exchange.ts 1',
    'src/federation/meet.ts 2',
    'src/federation/peer-office.ts 1',
    'src/federation/successions.ts 1',
  ])
  expect(filesWith(/\bnew Outbound\(/)).toEqual(['src/bin/run-audit-against.ts', 'src/federation/federation.ts'])
  expect(filesWith(/\bFederation\.open\(/)).toEqual(['src/bin/open-federation.ts'])
  expect(filesWith(/\bimplements [^{]*\bKillSwitch\b/)).toEqual(['src/federation/toggles.ts'])
  for (const name of ['src/bin/run-audit-against.ts', 'src/bin/open-federation.ts'])
    expect(sources.find((source) => source.name === name)?.code).toMatch(
      /\b(?:killSwitch|toggles) = await Toggles\.open\(\{[\s\S]*\bkillSwitch(?:: toggles)?,/,
    )
})

test('every path of federation that the program names is a door that was knocked at, or is served nowhere', async () => {
  const known = new Set((await doors()).map((door) => door.path))
  const named = new Set(sources.flatMap(({ code }) => code.match(/(?<=')\/v1\/federation\/[\w/]+(?=')/g) ?? []))
  expect(named.size).toBeGreaterThan(15)
  const unknown = [...named].filter((target) => !known.has(target))
  // named because of its size in version 1
  expect(unknown).toEqual(['/v1/federation/memory/since'])
  for (const target of unknown) expect(await knock({ method: 'POST', path: target })).toBe(404)
})

test('what opens connections is found in every way it can be written', () => {
  for (const code of [
    "import http from 'node:http'",
    "import { isIP, connect } from 'node:net'",
    "import {\n  request,\n} from 'undici'",
    'const answer = await fetch(url)',
    "const { request } = await import('node:https')",
    "process.getBuiltinModule('node:net').connect(1)",
    'new WebSocket(url)',
  ])
    expect(opening.test(code), code).toBe(true)
  for (const code of [
    "import type { Socket } from 'node:net'",
    "import { isIP } from 'node:net'",
    "process.getBuiltinModule('node:net').isIP(address)",
    'void this.#fetch(peer)',
  ])
    expect(opening.test(code), code).toBe(false)
})
