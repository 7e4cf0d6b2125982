import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateIdentity, sha256 } from '#crypto'
import { parseWorkerId, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '#testkit'
import { type Actor, Identity } from './index.ts'

let db: TestDatabase
let pool: Identity
const ada: Actor = { actor: 'key:ada', role: 'owner', userId: null }

beforeAll(async () => {
  db = await testDatabase()
  pool = new Identity(db.database, systemRuntime)
})
afterAll(async () => {
  pool[Symbol.dispose]()
  await db.drop()
})

interface Row {
  readonly actor: string
  readonly action: string
  readonly subject: string
  readonly details: Record<string, unknown>
}

/** The acts that something added. */
async function actsOf(work: () => Promise<unknown>): Promise<Row[]> {
  const [last] = await db.sql<{ seq: bigint }[]>`select coalesce(max(seq), -1) as seq from acts`
  await work()
  return db.sql<Row[]>`
    select actor, action, subject, details from acts where seq > ${last?.seq ?? -1n} order by seq`
}

const { publicKey, id: workerId } = generateIdentity(systemRuntime)

test('every change is one act: who, what, to whom', async () => {
  const user = await pool.createUser({ name: 'bea' }, ada)
  const key = await pool.createApiKey({ name: 'laptop', user: 'bea' }, ada)
  const adminKey = generateIdentity(systemRuntime)
  const changes: [() => Promise<unknown>, string, string, Record<string, unknown>][] = [
    [() => pool.setUserRole('bea', 'auditor', ada), 'user.role', user.account, { before: 'user', role: 'auditor' }],
    [() => pool.disableUser('bea', ada), 'user.disable', user.account, { name: 'bea' }],
    [() => pool.enableUser('bea', ada), 'user.enable', user.account, { name: 'bea' }],
    [() => pool.setPayerKey('bea', publicKey, ada), 'user.payer_key', user.account, { before: null }],
    [() => pool.changeApiKey(key.id, { budgetTotal: 5n }, ada), 'key.set', `key:${key.id}`, { budget_total: '5' }],
    [() => pool.revokeApiKey(key.id, ada), 'key.revoke', `key:${key.id}`, { name: 'laptop' }],
    [
      () => pool.addAdminKey({ name: 'x', publicKey: adminKey.publicKey }, ada),
      'admin_key.add',
      `admin-key:${adminKey.id}`,
      { public_key: adminKey.publicKey.toString('hex') },
    ],
    [() => pool.revokeAdminKey(adminKey.id, ada), 'admin_key.revoke', `admin-key:${adminKey.id}`, { name: 'x' }],
  ]
  for (const [work, action, subject, details] of changes) {
    const acts = await actsOf(work)
    expect(acts).toMatchObject([{ actor: 'key:ada', action, subject, details }])
    if (!/^key\.set$/.test(action)) continue
    const keyHash = sha256(Buffer.from(key.key)).toString('hex')
    expect(acts[0]?.details).toMatchObject({ user: 'bea', role: 'user', key_hash: keyHash, budget_per_day: null })
  }
})

test('what changes nothing is no act', async () => {
  const idle = await actsOf(async () => {
    await pool.enableUser('bea', ada)
    await pool.setUserRole('bea', 'auditor', ada)
    await pool.setPayerKey('bea', publicKey, ada)
    await pool.createUser({ name: 'bea' }, ada).catch(() => {})
    await pool.disableUser('owner', ada).catch(() => {})
  })
  expect(idle).toEqual([])
})

test('a worker from invite to revocation', async () => {
  const id = parseWorkerId(workerId) as WorkerId
  const acts = await actsOf(async () => {
    const { token } = await pool.invite({ operator: 'alice', by: 'key:ada' })
    await pool.admitWorker({ id, publicKey, token })
    await pool.approveWorker(id, 'key:ada')
    await pool.approveWorker(id, 'key:ada')
    await pool.renewWorker(id, {}, 'key:ada')
    await pool.revokeWorker(id, 'key:ada')
    await pool.recordAct('key:ada', { action: 'worker.drain', subject: `worker:${id}`, details: { on: true } })
  })
  expect(acts.map(({ action }) => action)).toEqual([
    'invite.create',
    'worker.approve',
    'worker.renew',
    'worker.revoke',
    'worker.drain',
  ])
  expect(acts[0]).toMatchObject({ actor: 'key:ada', details: { operator: 'alice' } })
})

test('no act holds a secret, and one of the largest key is held', async () => {
  const models = Array.from({ length: 256 }, (_, i) => `${'"'.repeat(190)}${i}`)
  const made = await pool.createApiKey({ name: 'k'.repeat(200), models }, ada)
  const { token } = await pool.invite({ operator: 'alice', by: 'key:ada' })
  const all = JSON.stringify(await db.sql`select actor, action, subject, details::text from acts`)
  for (const secret of [made.key, made.key.slice(10), token.toString('hex'), token.toString('base64url')]) {
    expect(all).not.toContain(secret)
  }
  const rows = await db.sql<Row[]>`select subject, details from acts where subject = ${`key:${made.id}`}`
  expect(rows[0]?.details.models).toHaveLength(33)
})
