import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { parseWorkerId, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { eventually, type TestDatabase, testDatabase } from '#testkit'
import { Identity } from './index.ts'

let db: TestDatabase
let pool: Identity
beforeAll(async () => {
  db = await testDatabase()
  pool = new Identity(db.database, systemRuntime)
})
afterAll(async () => {
  pool[Symbol.dispose]()
  await db.drop()
})

function newKey() {
  const { publicKey, id } = generateIdentity(systemRuntime)
  return { publicKey, id: parseWorkerId(id) as WorkerId }
}

async function approved(operator: string) {
  const { token } = await pool.invite({ operator, by: 'ann' })
  const worker = newKey()
  await pool.admitWorker({ ...worker, token })
  await pool.approveWorker(worker.id, 'ann')
  return worker
}

const codeOf = async (worker: ReturnType<typeof newKey>, address?: string, token?: Buffer) => {
  const verdict = await pool.admitWorker({ ...worker, address, ...(token ? { token } : {}) })
  return verdict.ok ? verdict.standing : verdict.refusal.code
}

describe('who is blocked', () => {
  test('one worker is refused whatever its key says, and no operator can renew it; lifted, it is what it was', async () => {
    const worker = await approved('alice')
    await pool.block({ worker: worker.id.slice(0, 12) }, 'answers from a cache', 'ann')
    await pool.block({ worker: worker.id }, 'said twice', 'ann')
    expect(await codeOf(worker)).toBe('worker_blocked')
    await expect(pool.renewWorker(worker.id, {}, 'op')).rejects.toMatchObject({ refusal: { code: 'conflict' } })
    await expect(pool.approveWorker(worker.id, 'op')).rejects.toMatchObject({ refusal: { code: 'conflict' } })
    expect((await pool.listBlocks()).filter(({ subject }) => subject === worker.id)).toMatchObject([
      { kind: 'worker', because: 'answers from a cache' },
    ])
    await pool.unblock({ worker: worker.id }, 'ann')
    expect(await codeOf(worker)).toBe('approved')
    await expect(pool.unblock({ worker: worker.id }, 'ann')).rejects.toMatchObject({ refusal: { code: 'not_found' } })
    const acts = await db.sql<
      { action: string }[]
    >`select action from acts where subject = ${`worker:${worker.id}`} order by seq`
    expect(acts.map(({ action }) => action).slice(-2)).toEqual(['worker.block', 'worker.unblock'])
  })

  test('of an operator nobody comes in, not even with an invite that was made before', async () => {
    const worker = await approved('bob')
    const { token } = await pool.invite({ operator: 'bob', by: 'ann' })
    await pool.block({ operator: 'bob' }, 'convicted elsewhere', 'ann')
    expect(await codeOf(worker)).toBe('worker_blocked')
    expect(await codeOf(newKey(), undefined, token)).toBe('worker_blocked')
    expect(await pool.listBlocks()).toContainEqual(
      expect.objectContaining({ kind: 'operator', subject: 'bob', because: 'convicted elsewhere' }),
    )
    await pool.unblock({ operator: 'bob' }, 'ann')
    expect(await codeOf(worker)).toBe('worker_revoked')
    await pool.renewWorker(worker.id, {}, 'ann')
    expect(await codeOf(worker)).toBe('approved')
  })

  test('behind a blocked network nobody comes in, elsewhere the same worker does', async () => {
    const worker = await approved('carol')
    await pool.block({ address: '192.0.2.77/24' }, 'stolen laptops', 'ann')
    await pool.block({ address: '2001:db8:1::5' }, 'stolen laptops', 'ann')
    expect(await codeOf(worker, '192.0.2.3')).toBe('address_blocked')
    expect(await codeOf(newKey(), '192.0.2.3')).toBe('address_blocked')
    expect(await codeOf(worker, '2001:db8:1::5')).toBe('address_blocked')
    expect(await codeOf(worker, '2001:db8:1::6')).toBe('approved')
    expect(await codeOf(worker, '198.51.100.1')).toBe('approved')
    expect(await codeOf(worker)).toBe('approved')
    expect((await pool.listBlocks()).map(({ subject }) => subject)).toContain('192.0.2.0/24')
    await pool.unblock({ address: '192.0.2.0/24' }, 'ann')
    expect(await codeOf(worker, '192.0.2.3')).toBe('approved')
  })

  test('is heard by other replicas, which end the sessions', async () => {
    const worker = await approved('dora')
    await using elsewhere = await openDatabase({ target: db.target, runtime: systemRuntime })
    using replica = new Identity(elsewhere, systemRuntime)
    const heard: string[] = []
    replica.onBlockChange(({ kind, subject, lifted }) => heard.push(`${kind} ${subject} ${lifted}`))
    await pool.block({ worker: worker.id }, 'stopped', 'ann')
    await eventually('the block to be heard', () => heard.includes(`worker ${worker.id} false`) || undefined)
    await pool.unblock({ worker: worker.id }, 'ann')
    await eventually('its end to be heard', () => heard.includes(`worker ${worker.id} true`) || undefined)
  })

  test('stays on record: not even the database forgets a block or brings it back', async () => {
    const worker = await approved('eve')
    await pool.block({ worker: worker.id }, 'stopped', 'ann')
    await pool.unblock({ worker: worker.id }, 'ann')
    await expect(db.sql`delete from blocks where subject = ${worker.id}`).rejects.toThrow(/stays as it is/)
    await expect(
      db.sql`update blocks set lifted_at = null, lifted_by = null where subject = ${worker.id}`,
    ).rejects.toThrow(/stays as it is/)
  })
})

describe('a rotation', () => {
  test('revokes every key there is and invites each operator again, but for the pool’s own and for the blocked', async () => {
    const [frank, own, bad] = [await approved('frank'), await approved('self'), await approved('grace')]
    await pool.block({ worker: bad.id }, 'cheats', 'ann')
    const wish = { except: ['self'], because: 'a laptop was stolen', by: 'ann' }
    const { rotated, more } = await pool.rotateWorkers({ ...wish, joinedBefore: systemRuntime.now() + 1 })
    expect(more).toBe(false)
    const of = (id: WorkerId) => rotated.find(({ worker }) => worker === id)
    expect(of(own.id)).toBeUndefined()
    expect(of(bad.id)).toMatchObject({ operator: 'grace' })
    expect(of(bad.id)?.token).toBeUndefined()
    expect(await codeOf(frank)).toBe('worker_revoked')
    expect(await codeOf(own)).toBe('approved')
    expect(await codeOf(newKey(), undefined, of(frank.id)?.token)).toBe('pending')
    const again = await pool.rotateWorkers({ ...wish, joinedBefore: systemRuntime.now() - 60_000 })
    expect(again).toEqual({ rotated: [], more: false })
    const mistyped = pool.rotateWorkers({ ...wish, operator: 'franc', joinedBefore: systemRuntime.now() + 1 })
    await expect(mistyped).rejects.toMatchObject({ code: 'not_found', message: 'There is no operator franc.' })
  })
})
