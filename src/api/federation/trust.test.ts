import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeBundle } from '../../federation/bundle.ts'
import { FederatedPool, loopbackHosts } from '../../testkit/federated-pool.ts'
import { ForeignPool } from '../../testkit/foreign-pool.ts'

let anna: FederatedPool
let bert: FederatedPool
let foreign: ForeignPool
beforeAll(async () => {
  ;[anna, bert] = await Promise.all([FederatedPool.open('anna'), FederatedPool.open('bert')])
  foreign = await new ForeignPool(randomBytes(32)).listen()
  loopbackHosts.push(new URL(foreign.url).host)
})
afterAll(async () => {
  await Promise.all([anna, bert, foreign].map((pool) => pool[Symbol.asyncDispose]()))
})

const office = (pool: FederatedPool) => pool.federation.office
const trustOf = (pool: FederatedPool, other: FederatedPool) => pool.federation.peers.get(other.id)?.trust
const status = { method: 'POST', target: '/v1/federation/peer/status', body: {} } as const
const ask = (from: FederatedPool, of: FederatedPool) => from.federation.outbound.call(of.as(2), status)

test('pools are bonded when the humans of both have said so, and not before', async () => {
  const added = await office(anna).add(bert.url)
  expect(added).toMatchObject({ problem: null, view: { reachable: true, peer: { id: bert.id, trust: 1, version: 2 } } })
  await expect.poll(() => trustOf(bert, anna)).toBe(1)
  expect(await ask(bert, anna)).toMatchObject({ code: 'refused', status: 403 })
  expect(await office(anna).promote(bert.id.slice(0, 6), 3, 'owner.key')).toMatchObject({
    awaiting: true,
    view: { peer: { trust: 2, ourLevel: 3, theirLevel: 0 } },
  })
  expect(trustOf(bert, anna)).toBe(1)
  expect(await office(bert).promote(anna.id, 3, 'key:7')).toMatchObject({
    awaiting: false,
    view: { peer: { trust: 3 } },
  })
  expect(trustOf(anna, bert)).toBe(3)
  expect(await ask(bert, anna)).toMatchObject({ ok: true, signed: true, body: { load: 'free', size: 'small' } })
  const acts = await anna.db.sql`select actor, action from acts where subject = ${`pool:${bert.id}`} order by seq`
  expect(acts).toEqual([
    { actor: 'owner.key', action: 'peer.promote' },
    { actor: 'self', action: 'peer.bonded' },
  ])
})

test('who was demoted is not raised by an old word of either side', async () => {
  await office(anna).demote(bert.id, 2, 'owner.key')
  expect(await ask(bert, anna)).toMatchObject({ status: 403 })
  await office(bert).promote(anna.id, 4, 'owner.key')
  expect(trustOf(anna, bert)).toBe(2)
  expect(trustOf(bert, anna)).toBe(3)
  await office(anna).promote(bert.id, 4, 'owner.key')
  expect([trustOf(anna, bert), trustOf(bert, anna)]).toEqual([4, 4])
})

test('wrong answers lower trust by themselves, once for three, and only a human raises it again', async () => {
  for (const why of ['one', 'two', 'three']) await bert.federation.records.note(anna.id, 'mismatch', why)
  expect(trustOf(bert, anna)).toBe(3)
  expect(bert.changes.at(-1)).toEqual({
    peer: anna.id,
    from: 4,
    to: 3,
    by: 'self',
    why: '3 wrong answers within a day; the last: three',
  })
  await bert.federation.heartbeats.beat()
  await anna.federation.heartbeats.beat()
  expect(trustOf(bert, anna)).toBe(3)
  for (let n = 0; n < 3; n++) await bert.federation.records.note(anna.id, 'mismatch', 'again')
  expect((await office(bert).show(anna.id)).record).toMatchObject({ mismatches: 6, lately: { mismatches: 0 } })
  expect(trustOf(bert, anna)).toBe(2)
})

test('a pool is seen as long as it is there under its key, and lists say so', async () => {
  const pools = async () =>
    (await (await fetch(`${anna.url}/v1/federation/pools`)).json()) as { pools: { name: string }[] }
  expect((await pools()).pools.map(({ name }) => name)).toEqual(['anna', 'bert'])
  expect(await office(anna).ping(bert.id)).toMatchObject({ ok: true, version: 2, problem: null })
  bert.kill()
  expect(await office(anna).ping(bert.id)).toMatchObject({ ok: false, problem: 'federation is switched off' })
  bert.kill(false)
  const [peer] = await anna.db.sql`select url from peers where id = ${bert.id}`
  await anna.db.sql`update peers set url = ${foreign.url}, changed_at = now() where id = ${bert.id}`
  await anna.federation.peers.refresh()
  expect((await office(anna).ping(bert.id)).ok).toBe(false)
  await anna.db.sql`update peers set url = ${peer?.url}, changed_at = now() where id = ${bert.id}`
  await anna.federation.peers.refresh()
})

test('a pool of the live network is met by URL, proves its key, and is bonded by one side', async () => {
  foreign.answers.set('/v1/federation/verify', (body) => foreign.prove(body))
  const id = foreign.id as FederatedPool['id']
  expect(await office(bert).add(foreign.url, id)).toMatchObject({ problem: null, view: { peer: { id, version: 1 } } })
  expect(foreign.received.at(-1)?.body).toMatchObject({ atom_id: bert.id, request_reciprocation: true })
  expect(await office(bert).ping(id)).toMatchObject({ ok: true, version: 1 })
  foreign.answers.set('/v1/federation/verify', () => ({ signed_response_b64: Buffer.alloc(64).toString('base64') }))
  expect(await office(bert).ping(id)).toMatchObject({ ok: false, problem: 'It did not sign what it was sent.' })
  expect(await office(bert).promote(id, 3, 'owner.key')).toMatchObject({
    awaiting: false,
    view: { peer: { trust: 3 } },
  })
})

test('a key that was handed over counts though its pool is out of reach; another pool at that place does not', async () => {
  const far = new ForeignPool(randomBytes(32))
  const key = Buffer.from(far.publicKeyHex, 'hex')
  const apart = await office(anna).add(writeBundle({ key, url: '' }))
  expect(apart).toMatchObject({ problem: 'The bundle has no URL.', view: { peer: { id: far.id, trust: 1 } } })
  const elsewhere = await office(anna).add(writeBundle({ key, url: foreign.url }))
  expect(elsewhere.problem).toBe(`Another pool is there: ${foreign.id}.`)
  await expect(office(anna).add(foreign.url, far.id)).rejects.toThrow('Another pool is there')
  await expect(office(anna).add('https://192.168.0.1')).rejects.toThrow('forbidden_address')
  await expect(office(anna).add(anna.url)).rejects.toThrow('the pool itself')
})

test('a revoked pool is cut off in both directions, in mid-call, and does not come back', async () => {
  const opened = await anna.federation.outbound.open(bert.as(2), { method: 'GET', target: '/v1/federation/info' })
  expect(opened.ok).toBe(true)
  const watching = new Promise<void>((resolve) => anna.federation.peers.whileTrusted(bert.id, resolve))
  await office(anna).revoke(bert.id, 'owner.key')
  await watching
  expect(await anna.federation.outbound.call(bert.as(2), status)).toMatchObject({ code: 'revoked' })
  expect(await ask(bert, anna)).toMatchObject({ code: 'refused', message: 'signature: revoked' })
  const body = bert.federation.introduction()
  expect(
    await bert.federation.outbound.call(anna.as(2), { method: 'POST', target: '/v1/federation/handshake', body }),
  ).toMatchObject({
    message: 'signature: revoked',
  })
  await expect(office(anna).promote(bert.id, 2, 'owner.key')).rejects.toThrow('revoked for good')
  await expect(office(anna).add(bert.url)).rejects.toThrow('revoked for good')
})

test('who spoke version 2 is heard in version 1 when a human says so', async () => {
  const old = new ForeignPool(anna.identity.seed)
  const challenge = { atom_id: anna.id, challenge_b64: 'AAECAw==' }
  const verify = () => old.send(bert.url, { path: '/v1/federation/verify', body: challenge })
  expect((await verify()).body).toEqual({ error: 'signature: downgrade' })
  await office(bert).allowV1(anna.id, 'owner.key')
  expect((await verify()).status).toBe(200)
  expect(trustOf(bert, anna)).toBe(2)
})
