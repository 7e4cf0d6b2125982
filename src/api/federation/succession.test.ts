import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateIdentity, type Identity } from '#crypto'
import { acceptAgain } from '#federation'
import { type PoolId, signSuccession } from '#protocol'
import { systemRuntime } from '#runtime'
import { FederatedPool } from '../../testkit/federated-pool.ts'

/** Bela knows Anna. Anna's key goes; who answers at her address has another. */
let bela: FederatedPool
beforeAll(async () => {
  bela = await FederatedPool.open('bela')
})
const pools: FederatedPool[] = []
afterAll(async () => {
  await Promise.all([bela, ...pools].map((pool) => pool[Symbol.asyncDispose]()))
})

const key = () => generateIdentity(systemRuntime)
const last = { generation: 1, size: 7, root: Buffer.alloc(32, 1) }
const note = (old: Identity, next: Identity, admin?: Identity, at = 1_800_000_000) =>
  signSuccession({ generation: 2, last, at }, { old, next, admin })

/** A pool that Bela's human trusts with jobs. */
async function trusted(name: string): Promise<FederatedPool> {
  const pool = await FederatedPool.open(name)
  pools.push(pool)
  await pool.federation.office.add(bela.url)
  await bela.federation.office.promote(pool.id, 2, 'owner.key')
  return pool
}

/** A pool that Bela is bonded with. */
async function bonded(name: string): Promise<FederatedPool> {
  const pool = await trusted(name)
  await bela.knowsAdminOf(pool)
  await pool.knowsAdminOf(bela)
  await bela.bond(pool.id)
  await pool.bond(bela.id)
  expect(bela.federation.peers.get(pool.id)?.trust).toBe(3)
  return pool
}

/** From now on another pool answers where this one did. It knows Bela, as its predecessor did, and its humans trust her. */
async function replacedBy(old: FederatedPool, next: Identity, notes: string[]): Promise<FederatedPool> {
  const pool = await FederatedPool.open('anna', { identity: next }, notes, old.admin)
  pools.push(pool)
  await bela.db.sql`update peers set url = ${pool.url} where id = ${old.id}`
  await bela.federation.peers.refresh()
  await pool.federation.peers.introduce(bela.id, bela.identity.publicKey, {
    name: 'bela',
    url: bela.url,
    moleculeId: '',
    capabilities: [],
  })
  await pool.federation.peers.markOffersV2(bela.id)
  await pool.knowsAdminOf(bela)
  await pool.bond(bela.id)
  return pool
}
/** Bela's human says so, and her admin signs the bond anew. */
const confirm = (old: FederatedPool, next: Identity) =>
  bela.federation.office.confirm(old.id, next.id, 'owner.key', bela.accepts(next.id))
const look = async (id: PoolId) => {
  const peer = bela.federation.peers.get(id)
  if (!peer) throw new Error('not known')
  return bela.federation.heartbeats.look(peer)
}
const knock = (from: FederatedPool) =>
  from.federation.outbound.call(bela.as(2), { method: 'POST', target: '/v1/federation/peer/status', body: {} })

test('a successor is a stranger until the human here confirms it by its whole id; then it stands in the old one’s place', async () => {
  const anna = await bonded('anna')
  const next = key()
  const after = await replacedBy(anna, next, [note(anna.identity, next, anna.admin)])
  expect((await look(anna.id)).problem).toContain(`lichen fed confirm ${anna.id.slice(0, 12)} ${next.id}`)
  expect(bela.federation.peers.get(anna.id)).toMatchObject({ trust: 3, revoked: false })
  expect(bela.federation.peers.get(after.id)?.trust ?? 0).toBe(0)
  expect(await knock(after)).toMatchObject({ ok: false, status: 401 })

  const { office } = bela.federation
  const refused = (successor: string) => expect(office.confirm(anna.id, successor, 'owner.key')).rejects
  await refused(next.id.slice(0, 12)).toMatchObject({ refusal: { code: 'invalid_request' } })
  await refused(key().id).toMatchObject({ refusal: { code: 'not_found' } })
  const { peer } = await confirm(anna, next)
  expect(peer).toMatchObject({ id: next.id, trust: 3, theirLevel: 3, ourLevel: 3 })
  expect(bela.federation.peers.get(anna.id)).toMatchObject({ trust: 0, revoked: true, succeededBy: next.id })
  expect(await knock(after)).toMatchObject({ ok: true })
  expect(await knock(anna)).toMatchObject({ ok: false, status: 401 })
  await refused(next.id).toMatchObject({ refusal: { code: 'conflict' } })
  const acts = await bela.db.sql`select action from acts where action = 'peer.succeed'`
  expect(acts.length).toBe(1)
})

test('who has stolen the old key cannot silently succeed: two successors of one key are nobody’s', async () => {
  const anna = await trusted('anna')
  const [hers, thiefs] = [key(), key()]
  await replacedBy(anna, thiefs, [note(anna.identity, thiefs)])
  await look(anna.id)
  await replacedBy(anna, hers, [note(anna.identity, hers)])
  await look(anna.id)
  for (const { id } of [hers, thiefs])
    await expect(bela.federation.office.confirm(anna.id, id, 'owner.key')).rejects.toThrow('two different successors')
  expect(bela.federation.peers.get(anna.id)?.trust).toBe(2)
})

test('where an admin of that pool is registered, only a successor that an admin has signed for is confirmed, whatever a thief says', async () => {
  const anna = await bonded('anna')
  const [eve, hers, thiefs] = [key(), key(), key()]
  await replacedBy(anna, thiefs, [note(anna.identity, thiefs, eve)])
  const { office } = bela.federation
  await expect(office.confirm(anna.id, thiefs.id, 'owner.key')).rejects.toThrow('No admin of that pool')
  await replacedBy(anna, hers, [note(anna.identity, hers, anna.admin)])
  // without an admin's signature here the bond waits, and nothing else
  expect((await office.confirm(anna.id, hers.id, 'owner.key')).peer).toMatchObject({ id: hers.id, trust: 2 })
  expect((await bela.bond(hers.id)).view.peer).toMatchObject({ trust: 3, ourLevel: 3, theirLevel: 3 })
  const [kept] = await bela.db.sql`select 1 from peer_admin_keys where peer_id = ${hers.id} and id = ${anna.admin.id}`
  expect(kept).toBeDefined()
})

test('statements of strangers are nothing, and a pool that changed twice is followed to where it is', async () => {
  const anna = await bonded('anna')
  const [between, now, other] = [key(), key(), key()]
  await replacedBy(anna, now, [note(other, now)])
  expect((await look(anna.id)).problem).not.toContain('confirm')
  await replacedBy(anna, now, [note(between, now, anna.admin), note(anna.identity, between, anna.admin)])
  expect((await look(anna.id)).problem).toContain(now.id)
  expect((await confirm(anna, now)).peer.trust).toBe(3)
})

test('a pool whose key changes has its bonds accepted anew by the admin who signed for that; without one they wait', async () => {
  const anna = await bonded('anna')
  const next = key().id as PoolId
  const rotated = (admin: Identity | undefined) =>
    anna.db.database.transaction(async (tx) => {
      await acceptAgain(tx, { giver: next, admin, now: systemRuntime.now() })
      const standing = await tx`select level, admin_key_id as admin from peer_acceptances
        where peer_id = ${bela.id} and not by_peer and withdrawn_at is null`
      const [peer] = await tx<{ trust: number }[]>`select trust from peers where id = ${bela.id}`
      return { standing: [...standing], trust: peer?.trust }
    })
  expect(await rotated(anna.admin)).toEqual({ standing: [{ level: 3, admin: anna.admin.id }], trust: 3 })
  expect(await rotated(undefined)).toEqual({ standing: [], trust: 2 })
})
