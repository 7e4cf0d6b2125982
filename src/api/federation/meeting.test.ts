import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
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

const handshake = '/v1/federation/handshake'

test('two pools know each other after one handshake, and speak version 2 from then on', async () => {
  const body = { ...anna.federation.introduction(), request_reciprocation: true }
  const shaken = await anna.federation.outbound.call(bert.as(2), { method: 'POST', target: handshake, body })
  expect(shaken).toMatchObject({
    ok: true,
    signed: true,
    body: { reciprocation_scheduled: true, already_known: false },
  })
  await expect.poll(() => bert.calledBack).toEqual([{ peer: anna.id, failed: undefined }])
  expect(anna.federation.peers.get(bert.id)).toMatchObject({
    name: 'bert',
    url: bert.url,
    trust: 1,
    version: 2,
    spokeV2: true,
  })
  expect(bert.federation.peers.get(anna.id)).toMatchObject({ name: 'anna', trust: 1, version: 2, spokeV2: true })
})

test('a pool of the live network that asks for it is called back with a handshake it can verify', async () => {
  const body = foreign.introduction({ request_reciprocation: true })
  expect((await foreign.send(anna.url, { path: handshake, body })).body).toMatchObject({
    reciprocation_scheduled: true,
  })
  await expect
    .poll(() => foreign.received)
    .toMatchObject([{ path: handshake, body: { atom_id: anna.id, name: 'anna', request_reciprocation: false } }])
  expect(anna.federation.peers.get(foreign.id as typeof anna.id)).toMatchObject({ version: 1, trust: 1 })
})

test('a pool whose URL may not be called is known all the same, and not called', async () => {
  const pool = new ForeignPool(randomBytes(32))
  const body = pool.introduction({ request_reciprocation: true, url: 'https://169.254.169.254' })
  expect((await pool.send(anna.url, { path: handshake, body })).body).toMatchObject({
    ok: true,
    peer_trust_level: 1,
    reciprocation_scheduled: false,
  })
})

test('who gives another pool’s URL as its own is not shaken hands with', async () => {
  const liar = new ForeignPool(randomBytes(32))
  const asked = foreign.received.length
  const body = liar.introduction({ request_reciprocation: true, url: foreign.url })
  await liar.send(bert.url, { path: handshake, body })
  await expect
    .poll(() => bert.calledBack)
    .toContainEqual({
      peer: liar.id,
      failed: { ok: false, code: 'key_mismatch', message: `Another pool is there: ${foreign.id}.` },
    })
  expect(foreign.received).toHaveLength(asked)
})
