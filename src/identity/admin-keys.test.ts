import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '#testkit'
import { type Actor, Identity } from './index.ts'

let db: TestDatabase
let pool: Identity
const owner: Actor = { actor: 'owner.key', role: 'owner', userId: null }

beforeAll(async () => {
  db = await testDatabase()
  pool = new Identity(db.database, systemRuntime)
})
afterAll(async () => {
  pool[Symbol.dispose]()
  await db.drop()
})

const refused = (code: string) => ({ refusal: { code } })

test('an admin key counts from its adding to its revocation, and never again', async () => {
  expect(await pool.anyAdminKey()).toBe(false)
  const { id, publicKey } = generateIdentity(systemRuntime)
  const added = await pool.addAdminKey({ name: 'ada', publicKey }, owner)
  expect(added).toMatchObject({ id, publicKey, name: 'ada', revokedAt: null, addedBy: 'owner.key' })
  expect([await pool.isAdminKey(publicKey), await pool.anyAdminKey()]).toEqual([true, true])
  await expect(pool.addAdminKey({ name: 'again', publicKey }, owner)).rejects.toMatchObject(refused('conflict'))
  const revoked = await pool.revokeAdminKey(id.slice(0, 12), owner)
  expect(revoked.revokedAt).not.toBeNull()
  expect(await pool.revokeAdminKey(id, owner)).toEqual(revoked)
  expect([await pool.isAdminKey(publicKey), await pool.anyAdminKey()]).toEqual([false, true])
  await expect(pool.addAdminKey({ name: 'ada', publicKey }, owner)).rejects.toMatchObject(refused('conflict'))
  expect(await pool.listAdminKeys()).toContainEqual(revoked)
})

test('only an owner adds and revokes', async () => {
  const { id, publicKey } = generateIdentity(systemRuntime)
  const admin: Actor = { actor: 'key:x', role: 'admin', userId: null }
  await expect(pool.addAdminKey({ name: 'x', publicKey }, admin)).rejects.toMatchObject(refused('role_required'))
  await expect(pool.revokeAdminKey(id, admin)).rejects.toMatchObject(refused('role_required'))
  await expect(pool.revokeAdminKey(id, owner)).rejects.toMatchObject(refused('not_found'))
})

test('a key of small order, and the pool’s own, are refused', async () => {
  const identity = Buffer.from([1, ...Buffer.alloc(31)])
  await expect(pool.addAdminKey({ name: 'x', publicKey: identity }, owner)).rejects.toMatchObject({
    refusal: { code: 'invalid_request', param: 'public_key' },
  })
  const own = generateIdentity(systemRuntime)
  await db.sql`insert into meta (key, value) values ('pool_id', ${own.id})`
  const adding = pool.addAdminKey({ name: 'x', publicKey: own.publicKey }, owner)
  await expect(adding).rejects.toMatchObject({ refusal: { code: 'invalid_request' } })
})

test('the database brings no revoked key back and forgets none', async () => {
  const { id, publicKey } = generateIdentity(systemRuntime)
  await pool.addAdminKey({ name: 'x', publicKey }, owner)
  await pool.revokeAdminKey(id, owner)
  await expect(db.sql`update admin_keys set revoked_at = null where id = ${id}`).rejects.toThrow('stays as it is')
  await expect(db.sql`delete from admin_keys where id = ${id}`).rejects.toThrow('stays as it is')
})
