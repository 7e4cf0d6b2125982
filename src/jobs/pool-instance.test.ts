import { expect, test } from 'vitest'
import { SmallPool } from '../testkit/small-pool.ts'
import { hangsAfter, type SmallClient } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { jobsLimits } from './limits.ts'

const openPool = (home: TestDatabase, alone: boolean) => SmallPool.open(home.database, { alone })

/** A job that streams, and one that waits behind it. */
async function busy(pool: SmallPool): Promise<SmallClient[]> {
  pool.workers.join('ann', { slots: 1, plan: hangsAfter(2) })
  const clients = [await pool.ask(), await pool.ask()]
  await expect
    .poll(async () => (await pool.jobs.list({ limit: 10 })).map((job) => job.state).sort())
    .toEqual(['queued', 'streaming'])
  return clients
}

const states = async (pool: SmallPool) => (await pool.jobs.list({ limit: 10 })).map((job) => job.state)

test('after a crash the jobs that were open are interrupted, whatever state they were in', async () => {
  await using home = await testDatabase()
  const before = await openPool(home, true)
  const [streaming] = await busy(before)
  await before.crash()
  await using after = await openPool(home, true)
  expect(await states(after)).toEqual(['interrupted', 'interrupted'])
  expect(await after.jobs.show(streaming?.handle?.id ?? '')).toMatchObject({ segments: [{ outcome: 'lost' }] })
  expect(after.eventsNamed('jobsInterrupted')).toEqual([{ jobs: 2 }])
})

test('a second pool on the same database does not touch the jobs of the first', async () => {
  await using home = await testDatabase()
  await using first = await openPool(home, false)
  const clients = await busy(first)
  await using second = await openPool(home, false)
  expect(await states(second)).toEqual(['queued', 'streaming'])
  for (const client of clients) client.handle?.cancel()
  for (const client of clients) expect(await first.record(client)).toMatchObject({ state: 'cancelled' })
})

test('a pool that no longer renews its row loses its jobs to the others, and its late outcome changes nothing', async () => {
  await using home = await testDatabase()
  await using first = await openPool(home, false)
  const clients = await busy(first)
  await home.sql`update pool_instances set seen_at = now() - ${2 * jobsLimits.instanceLeaseMs} * interval '1 millisecond'`
  await using second = await openPool(home, false)
  expect(await states(second)).toEqual(['interrupted', 'interrupted'])
  for (const client of clients) client.handle?.cancel()
  await expect.poll(() => first.eventsNamed('settleRefused')).toHaveLength(2)
  expect(await states(second)).toEqual(['interrupted', 'interrupted'])
})

test('a pool that stopped in order leaves no trace', async () => {
  await using home = await testDatabase()
  const pool = await openPool(home, true)
  await pool[Symbol.asyncDispose]()
  expect(await home.sql`select id from pool_instances`).toHaveLength(0)
})
