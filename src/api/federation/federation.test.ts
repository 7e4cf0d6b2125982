import { randomBytes } from 'node:crypto'
import net from 'node:net'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { identityFromSeed, sha256, verifySignature } from '#crypto'
import { Federation, federationLimits, type RawRequest } from '#federation'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '#testkit'
import { ApiDouble } from '../../testkit/api-double.ts'
import { ForeignPool } from '../../testkit/foreign-pool.ts'
import type { Knock, Origin } from '../route.ts'

const own = identityFromSeed(Buffer.alloc(32, 9))
let db: TestDatabase
let killed = false
let heard: object[] = []
const open: AsyncDisposable[] = []

/** `source`: the network that requests come from; as their `x-forwarded-for` says where it does. */
async function openPool(mode: 'off' | 'observe' | 'active' = 'active', source = '192.0.2'): Promise<string> {
  const federation = await Federation.open({
    database: db.database,
    runtime: systemRuntime,
    poolId: own.id as PoolId,
    identity: own,
    adminKeys: async () => new Map(),
    mode,
    name: 'anna',
    url: 'https://anna.example',
    capabilities: () => [
      {
        model: 'toy',
        workers: 2,
        digest: null,
        context: 512,
        features: ['chat'],
        prices: { prompt: 1n, completion: 4n },
      },
    ],
    killSwitch: { whyOff: async () => (killed ? 'killed' : undefined), register: () => () => {} },
    policy: { httpHosts: [], privateRanges: [] },
    networkOf: (address) => address,
    onCalledBack: () => {},
    onTrust: () => {},
    publish: true,
    load: () => ({ running: 0, waiting: 0, slots: 1 }),
    onReach: () => {},
    onHeard: (event) => heard.push(event),
    onProblem: (error) => {
      throw error
    },
  })
  const door = {
    info: () => federation.info(),
    directory: (page: 'molecule' | 'discover' | 'pools') => federation.directory(page),
    turnAway: ({ head, bodyBytes, forwardedFor = source }: Knock) => federation.turnAway(head, bodyBytes, forwardedFor),
    answer: (request: RawRequest, { forwardedFor = source }: Origin) => federation.answer(request, forwardedFor),
  }
  const api = await ApiDouble.open({ federation: door })
  open.push({
    async [Symbol.asyncDispose]() {
      federation[Symbol.dispose]()
      await api[Symbol.asyncDispose]()
    },
  })
  return api.url
}

let url: string
beforeAll(async () => {
  db = await testDatabase()
  url = await openPool()
})
afterEach(() => {
  killed = false
  heard = []
})
afterAll(async () => {
  for (const one of open) await one[Symbol.asyncDispose]()
  await db.drop()
})

const handshake = '/v1/federation/handshake'
const verifyPath = '/v1/federation/verify'
const stranger = () => new ForeignPool(randomBytes(32))
async function acquainted(): Promise<ForeignPool> {
  const pool = stranger()
  expect(await pool.send(url, { path: handshake, body: pool.introduction() })).toMatchObject({ status: 200 })
  return pool
}
const challenge = (pool: ForeignPool) => ({
  atom_id: pool.id,
  challenge_b64: Buffer.from('who is there').toString('base64'),
})

test('a pool says who it is to everybody', async () => {
  const answer = await fetch(`${url}/v1/federation/info`)
  expect(await answer.json()).toEqual({
    mode: 'active',
    atom_id: own.id,
    name: 'anna',
    pubkey_hex: own.publicKey.toString('hex'),
    url: 'https://anna.example',
    molecule_id: '',
    capabilities: [
      {
        kind: 'llm.chat',
        model: 'toy',
        version: 'v1',
        worker_count: 2,
        digest: null,
        context: 512,
        features: ['chat'],
        prompt_price: '1',
        completion_price: '4',
      },
    ],
    hop_max: 2,
    nonce_window_sec: 60,
    schema: 1,
    envelope_versions: [1, 2],
  })
})

test('a pool of the live network shakes hands, is known, and sees our key proved', async () => {
  const pool = stranger()
  const first = await pool.send(url, { path: handshake, body: pool.introduction() })
  expect(first).toMatchObject({
    status: 200,
    body: { ok: true, peer_trust_level: 1, already_known: false, self: { atom_id: own.id } },
  })
  const again = await pool.send(url, { path: handshake, body: pool.introduction({ name: 'renamed' }) })
  expect(again.body).toMatchObject({ already_known: true, peer_trust_level: 1 })
  const [row] = await db.sql`select name, trust from peers where id = ${pool.id}`
  expect(row).toEqual({ name: 'renamed', trust: 1 })
  const proof = await pool.send(url, { path: verifyPath, body: challenge(pool) })
  const signature = String(proof.body.signed_response_b64)
  expect(ForeignPool.proved(own.publicKey.toString('hex'), own.id, Buffer.from('who is there'), signature)).toBe(true)
})

test('the same message counts once, whichever process of the pool it reaches', async () => {
  const pool = await acquainted()
  const other = await openPool()
  const sent = {
    path: verifyPath,
    body: challenge(pool),
    nonce: '0123456789abcdef',
    timestamp: Math.floor(Date.now() / 1_000),
  }
  expect((await pool.send(url, sent)).status).toBe(200)
  expect(await pool.send(url, sent)).toEqual({ status: 401, body: { error: 'signature: replayed' } })
  expect(await pool.send(other, sent)).toEqual({ status: 401, body: { error: 'signature: replayed' } })
})

test('a message under another known pool’s id is refused', async () => {
  const [pool, other] = [await acquainted(), await acquainted()]
  const sent = { path: verifyPath, body: challenge(other), headers: { 'X-IAMINE-Atom-Id': other.id } }
  expect(await pool.send(url, sent)).toEqual({ status: 401, body: { error: 'signature: bad_signature' } })
})

test('a stranger may do nothing but shake hands', async () => {
  const pool = stranger()
  expect((await pool.send(url, { path: verifyPath, body: challenge(pool) })).body).toEqual({
    error: 'signature: unknown_signer',
  })
})

test('nobody raises their own trust, and a revoked pool does not come back by shaking hands', async () => {
  const pool = await acquainted()
  const raised = pool.introduction({ trust: 4, peer_trust_level: 4 })
  expect((await pool.send(url, { path: handshake, body: raised })).body).toMatchObject({ peer_trust_level: 1 })
  await db.sql`update peers set trust = 0, revoked_at = now(), changed_at = now() where id = ${pool.id}`
  await expect
    .poll(async () => (await pool.send(url, { path: handshake, body: pool.introduction() })).body, { timeout: 20_000 })
    .toEqual({ error: 'signature: revoked' })
  await expect(db.sql`update peers set revoked_at = null where id = ${pool.id}`).rejects.toThrow('keeps its key')
})

test('a challenge long enough to be another message is not signed', async () => {
  const pool = await acquainted()
  const body = { atom_id: pool.id, challenge_b64: Buffer.alloc(65).toString('base64') }
  expect((await pool.send(url, { path: verifyPath, body })).status).toBe(400)
})

test('who spoke version 2 gets signed answers, and is not heard in version 1 any more', async () => {
  const peer = identityFromSeed(randomBytes(32))
  const introduction = { ...stranger().introduction(), atom_id: peer.id, pubkey_hex: peer.publicKey.toString('hex') }
  const body = Buffer.from(JSON.stringify(introduction))
  const field = (value: string | Buffer) => {
    const bytes = Buffer.from(value as string)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return Buffer.concat([length, bytes])
  }
  const stamp = String(Math.floor(Date.now() / 1_000))
  const asked = [
    'lichen-federation-request/2',
    peer.id,
    own.id,
    'POST',
    handshake,
    'application/json',
    sha256(body),
    stamp,
    'a0'.repeat(8),
    '0',
    '',
  ]
  const signed = Buffer.concat(asked.map(field))
  const headers = {
    'content-type': 'application/json',
    'x-iamine-envelope': '2',
    'x-iamine-atom-id': peer.id,
    'x-iamine-timestamp': stamp,
    'x-iamine-nonce': 'a0'.repeat(8),
    'x-iamine-signature': peer.sign(signed).toString('base64'),
  }
  const answer = await fetch(url + handshake, { method: 'POST', headers, body })
  const text = Buffer.from(await answer.arrayBuffer())
  expect(answer.status).toBe(200)
  const type = answer.headers.get('content-type') ?? ''
  const said = ['lichen-federation-response/2', own.id, peer.id, sha256(signed), '200', type, sha256(text)]
  const signature = Buffer.from(answer.headers.get('x-iamine-signature') ?? '', 'base64')
  expect(verifySignature(own.publicKey, Buffer.concat(said.map(field)), signature)).toBe(true)
  const old = new ForeignPool(peer.seed)
  expect((await old.send(url, { path: verifyPath, body: challenge(old) })).body).toEqual({
    error: 'signature: downgrade',
  })
})

test('forty strangers of one network share one bucket', async () => {
  const crowded = await openPool('active', '198.51.100')
  const statuses = []
  for (let n = 0; n < 40; n++) {
    const pool = stranger()
    statuses.push((await pool.send(crowded, { path: handshake, body: pool.introduction() })).status)
  }
  expect(statuses.slice(0, 20)).toEqual(Array(20).fill(200))
  expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(10)
})

test('a forger who floods under a pool’s id is shut out, and the pool is not', async () => {
  const pool = await acquainted()
  const forgers = await openPool('active', '203.0.113')
  const forged = { path: verifyPath, body: challenge(pool), headers: { 'X-IAMINE-Atom-Id': pool.id } }
  const forger = stranger()
  const statuses = []
  for (let n = 0; n < 130; n++) statuses.push((await forger.send(forgers, forged)).status)
  expect(new Set(statuses)).toEqual(new Set([401, 429]))
  expect((await pool.send(url, { path: verifyPath, body: challenge(pool) })).status).toBe(200)
})

test('a forger who floods under a pool’s id from everywhere is not even looked at, and the pool is answered all the while', async () => {
  const pool = await acquainted()
  const from = (network: string) => ({ 'X-Forwarded-For': network })
  const asks = () => pool.send(url, { path: verifyPath, body: challenge(pool), headers: from('198.51.7') })
  expect((await asks()).status).toBe(200)
  const forger = stranger()
  const statuses: number[] = []
  const answered: number[] = []
  for (let n = 0; n < federationLimits.forgeriesPerMinute + 60; n++) {
    const headers = { 'X-IAMINE-Atom-Id': pool.id, ...from(`10.${n >> 8}.${n & 255}`) }
    const { status, body } = await forger.send(url, { path: verifyPath, body: challenge(pool), headers })
    statuses.push(status)
    if (status === 429) expect(body).toEqual({ error: 'too many failed signatures under this id' })
    if (n % 10 === 0) answered.push((await asks()).status)
  }
  expect(statuses.slice(0, federationLimits.forgeriesPerMinute)).not.toContain(429)
  expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(20)
  expect(new Set(answered)).toEqual(new Set([200]))
  // others are heard from anywhere
  const other = await acquainted()
  const elsewhere = { path: verifyPath, body: challenge(other), headers: from('10.99.9') }
  expect((await other.send(url, elsewhere)).status).toBe(200)
})

/** Sends bytes as they are over one connection; what came back until it was closed, or `until` was in it. */
async function knock(bytes: string, until?: string): Promise<string> {
  const socket = net.connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(bytes))
  let text = ''
  const over = Promise.withResolvers<void>()
  socket.on('error', () => over.resolve()).on('close', () => over.resolve())
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part
    if (until !== undefined && text.includes(until)) over.resolve()
  })
  await over.promise
  socket.destroy()
  return text
}
const head = (...lines: string[]) => [...lines, 'host: x', 'content-type: application/json', '', ''].join('\r\n')
const post = `POST ${verifyPath} HTTP/1.1`

test('what its head refuses is answered before its body is there; behind a long one the connection ends', async () => {
  const short = await knock(head(post, 'content-length: 100'), '}')
  expect(short).toMatch(/^HTTP\/1\.1 401 .*"signature: missing_header"/s)
  expect(short).not.toMatch(/connection: close/i)
  for (const length of ['content-length: 1000000', 'transfer-encoding: chunked'])
    expect(await knock(head(post, length))).toMatch(
      /^HTTP\/1\.1 401 .*connection: close.*"signature: missing_header"/is,
    )
  expect(await knock(head(post, 'content-length: 1048577'))).toMatch(/^HTTP\/1\.1 413 .*"signature: body_too_large"/s)
  killed = true
  expect(await knock(head(post, 'content-length: 1048577'))).toMatch(/^HTTP\/1\.1 503 /)
})

test('after a refused request with its short body the connection serves the next one', async () => {
  const next = head('GET /v1/federation/info HTTP/1.1', 'connection: close')
  const text = await knock(`${head(post, 'content-length: 2')}{}${next}`)
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 200'])
})

test('a body that does not say how long it is ends at the limit, with the connection', async () => {
  const pool = await acquainted()
  const stamped = [
    `x-iamine-atom-id: ${pool.id}`,
    `x-iamine-timestamp: ${Math.floor(Date.now() / 1_000)}`,
    `x-iamine-nonce: ${'c0'.repeat(8)}`,
    `x-iamine-signature: ${Buffer.alloc(64).toString('base64')}`,
  ]
  const piece = `10000\r\n${' '.repeat(65_536)}\r\n`
  const text = await knock(head(post, ...stamped, 'transfer-encoding: chunked') + piece.repeat(17))
  expect(text).toMatch(/^HTTP\/1\.1 413 .*connection: close/is)
})

test('with the kill switch on everything is 503, and nothing is looked at', async () => {
  const pool = await acquainted()
  heard = []
  killed = true
  expect((await fetch(`${url}/v1/federation/info`)).status).toBe(503)
  expect((await pool.send(url, { path: verifyPath, body: challenge(pool) })).status).toBe(503)
  expect(heard).toEqual([])
})

test('an observing pool verifies and logs, and nothing comes of it', async () => {
  const observing = await openPool('observe')
  const pool = stranger()
  expect((await pool.send(observing, { path: handshake, body: pool.introduction() })).status).toBe(503)
  expect(heard).toMatchObject([{ peer: pool.id, refused: 'this pool only observes' }])
  expect(await db.sql`select 1 from peers where id = ${pool.id}`).toHaveLength(0)
  const wrong = { path: handshake, body: pool.introduction(), headers: { 'X-IAMINE-Nonce': 'ff'.repeat(8) } }
  expect((await pool.send(observing, wrong)).status).toBe(401)
})

test('a pool that is off says so', async () => {
  const off = await openPool('off')
  const answer = await fetch(`${off}/v1/federation/info`)
  expect([answer.status, await answer.json()]).toEqual([503, { mode: 'off' }])
})
