import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type SignedAcceptance, signAcceptance } from '#federation'
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

const acceptPath = '/v1/federation/peer/accept'
const refusedFor = (code: string) => ({ refusal: { code } })
const register = ({ id }: FederatedPool) => `lichen fed admin-keys add ${id.slice(0, 12)} NAME PUBLIC_KEY`
const trouble = async (pool: FederatedPool, other: FederatedPool) => (await office(pool).show(other.id)).bondProblems

test('a bond is accepted by an admin of this pool, of now, for that pool and level, and by nobody else', async () => {
  const added = await office(anna).add(bert.url)
  expect(added).toMatchObject({ problem: null, view: { reachable: true, peer: { id: bert.id, trust: 1, version: 2 } } })
  await expect.poll(() => trustOf(bert, anna)).toBe(1)
  const by = (signature?: Parameters<FederatedPool['federation']['office']['promote']>[3]) =>
    expect(office(anna).promote(bert.id, 3, 'owner.key', signature)).rejects
  await by().toMatchObject(refusedFor('admin_signature_required'))
  await by(anna.accepts(bert.id, 3, anna.identity)).toMatchObject(refusedFor('admin_signature_required'))
  await by(anna.accepts(bert.id, 3, bert.admin)).toMatchObject(refusedFor('admin_signature_required'))
  await by(anna.accepts(foreign.id)).toMatchObject(refusedFor('admin_signature_required'))
  await by(anna.accepts(bert.id, 4)).toMatchObject(refusedFor('admin_signature_required'))
  await by(bert.accepts(bert.id, 3, anna.admin)).toMatchObject(refusedFor('admin_signature_required'))
  const old = { giver: anna.id, receiver: bert.id, level: 3 } as const
  const elevenMinutesAgo = Date.now() - 660_000
  await by(signAcceptance(anna.admin, old, elevenMinutesAgo)).toMatchObject(refusedFor('admin_signature_required'))
  expect(trustOf(anna, bert)).toBe(1)
  expect(await anna.db.sql`select 1 from peer_acceptances`).toHaveLength(0)
})

test('a pool without an admin key is told to make one', async () => {
  await using alone = await FederatedPool.open('alone', { adminKeys: async () => new Map() })
  await office(alone).add(bert.url)
  await expect(alone.bond(bert.id)).rejects.toMatchObject({
    refusal: {
      code: 'admin_signature_required',
      message: expect.stringContaining('this pool has no admin key'),
      fix: expect.stringContaining('lichen admin-key new'),
    },
  })
  expect(await office(alone).promote(bert.id, 2, 'owner.key')).toMatchObject({ view: { peer: { trust: 2 } } })
})

test('the word of another pool counts by an admin key that a human here registered for it, never by its own key', async () => {
  const say = async (acceptance: object | null) => {
    const { giver: _, receiver: __, ...said } = (acceptance ?? {}) as Partial<SignedAcceptance>
    const body = { acceptance: acceptance && said }
    const called = await anna.federation.outbound.call(bert.as(2), { method: 'POST', target: acceptPath, body })
    return called.ok ? called.body : { status: called.status, message: called.message }
  }
  const no = (why: string) => ({ status: 403, message: `acceptance: ${why}` })
  const good = anna.accepts(bert.id)
  expect(await say(good)).toEqual(no('unknown_admin'))
  await bert.knowsAdminOf(anna)
  expect(await say(anna.accepts(bert.id, 3, anna.identity))).toEqual(no('unknown_admin'))
  expect(await say(anna.accepts(bert.id, 3, bert.admin))).toEqual(no('unknown_admin'))
  // signed for another pool, by another pool, for another level, at another time, under another name
  expect(await say(anna.accepts(foreign.id))).toEqual(no('signature'))
  expect(await say(bert.accepts(bert.id, 3, anna.admin))).toEqual(no('signature'))
  expect(await say({ ...good, level: 4 })).toEqual(no('signature'))
  expect(await say({ ...good, signed_at: good.signed_at - 1 })).toEqual(no('signature'))
  expect(await say({ ...anna.accepts(bert.id, 3, bert.admin), key_id: anna.admin.id })).toEqual(no('signature'))
  const tomorrow = { giver: anna.id, receiver: bert.id, level: 3 } as const
  expect(await say(signAcceptance(anna.admin, tomorrow, Date.now() + 86_400_000))).toEqual(no('from_the_future'))
  expect(await say({ ...good, level: 2 })).toEqual({ status: 400, message: 'malformed acceptance' })
  // whoever put the pool's own key on the list: it is no admin's
  await bert.db.sql`insert into peer_admin_keys (peer_id, id, public_key, name, added_at, added_by)
    values (${anna.id}, ${anna.id}, ${anna.identity.publicKey}, 'a thief', now(), 'nobody')`
  expect(await say(anna.accepts(bert.id, 3, anna.identity))).toEqual(no('unknown_admin'))
  expect(await bert.db.sql`select 1 from peer_acceptances`).toHaveLength(0)
  expect(await say(good)).toEqual({ acceptance: null })
  expect(await office(bert).show(anna.id)).toMatchObject({ peer: { trust: 1, theirLevel: 3, ourLevel: 0 } })
})

test('pools are bonded when admins of both have signed and each knows the other’s, and not before', async () => {
  expect(await ask(bert, anna)).toMatchObject({ code: 'refused', status: 403 })
  await office(anna).promote(bert.id, 2, 'owner.key')
  expect(await bert.bond(anna.id, 3, 'key:7')).toMatchObject({ awaiting: false, view: { peer: { trust: 3 } } })
  expect(trustOf(anna, bert)).toBe(2)
  // nobody at Anna's knows the admin of Bert's yet; both humans are told
  expect(await trouble(anna, bert)).toEqual([
    { by: 'us', why: 'unknown_admin', keyId: bert.admin.id, text: expect.stringContaining(register(bert)) },
  ])
  expect(await trouble(bert, anna)).toEqual([
    { by: 'them', why: 'unknown_admin', keyId: bert.admin.id, text: expect.stringContaining(register(bert)) },
  ])
  const given = anna.accepts(bert.id)
  expect(await office(anna).promote(bert.id.slice(0, 6), 3, 'owner.key', given)).toMatchObject({
    awaiting: true,
    view: { peer: { trust: 2, ourLevel: 3, theirLevel: 0 } },
  })
  expect(await ask(bert, anna)).toMatchObject({ code: 'refused', status: 403 })
  // and that key is all that was missing
  await anna.knowsAdminOf(bert)
  expect(trustOf(anna, bert)).toBe(3)
  await bert.federation.heartbeats.beat()
  expect([await trouble(anna, bert), await trouble(bert, anna)]).toEqual([[], []])
  expect(await ask(bert, anna)).toMatchObject({ ok: true, signed: true, body: { load: 'free', size: 'small' } })
  const { ours, theirs } = await office(anna).show(bert.id)
  expect(ours).toEqual(given)
  expect(await office(bert).show(anna.id)).toMatchObject({ theirs: { key_id: anna.admin.id }, ours: theirs })
  const acts = await anna.db.sql`select actor, action from acts where subject = ${`pool:${bert.id}`} order by seq`
  expect(acts).toEqual([
    { actor: 'owner.key', action: 'peer.promote' },
    { actor: 'owner.key', action: 'peer.promote' },
    { actor: 'self', action: 'peer.bonded' },
  ])
})

test('a word that was given before its key was known counts once the key is registered, before anybody here has signed', async () => {
  const [carl, dora] = [await FederatedPool.open('carl'), await FederatedPool.open('dora')]
  await office(carl).add(dora.url)
  await dora.bond(carl.id)
  expect(await trouble(carl, dora)).toMatchObject([{ by: 'us', why: 'unknown_admin' }])
  await carl.knowsAdminOf(dora)
  expect(await office(carl).show(dora.id)).toMatchObject({
    peer: { trust: 1, ourLevel: 0, theirLevel: 3 },
    bondProblems: [],
  })
  await Promise.all([carl, dora].map((pool) => pool[Symbol.asyncDispose]()))
})

test('who was demoted is not raised by an old word of either side', async () => {
  const before = await office(anna).show(bert.id)
  await office(anna).demote(bert.id, 2, 'owner.key')
  expect(await ask(bert, anna)).toMatchObject({ status: 403 })
  await expect(office(anna).promote(bert.id, 3, 'owner.key', before.ours)).rejects.toThrow('used before')
  await bert.bond(anna.id, 4)
  expect(trustOf(anna, bert)).toBe(2)
  expect(trustOf(bert, anna)).toBe(3)
  await anna.bond(bert.id, 4)
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
  await expect(office(anna).add('https://192.168.0.1')).rejects.toThrow(
    'The URL may not be called: it leads into a network that is not public,',
  )
  await expect(office(anna).add(anna.url)).rejects.toThrow('the pool itself')
})

test('who is being answered while somebody switches federation off is told that it was cut off, not that the pool has failed', async () => {
  const [carl, dora] = [await FederatedPool.open('carl'), await FederatedPool.open('dora')]
  await office(carl).add(dora.url)
  const asked = Promise.withResolvers<void>()
  const reply = (_: unknown, signal: AbortSignal) => {
    asked.resolve()
    return new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  const target = '/v1/federation/job'
  dora.federation.serve(target, { trustMin: 1, bucket: 'jobs', reply })
  const asking = carl.federation.outbound.call(dora.as(2), {
    method: 'POST',
    target,
    body: { origin_pool_id: carl.id },
    hop: 1,
    chain: [carl.id],
  })
  await asked.promise
  dora.kill()
  expect(await asking).toMatchObject({ ok: false, status: 503, message: expect.stringContaining('cut off') })
  await Promise.all([carl, dora].map((pool) => pool[Symbol.asyncDispose]()))
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
