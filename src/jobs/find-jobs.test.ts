import { afterAll, beforeAll, expect, test } from 'vitest'
import { SmallPool, type SmallPoolOptions } from '../testkit/small-pool.ts'
import { answersIn, type SmallClient } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

const openPool = (options?: SmallPoolOptions) => SmallPool.open(home.database, options)

test('jobs are listed newest first, page by page, and by state', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', { plan: answersIn(1) })
  const clients: SmallClient[] = []
  for (let i = 0; i < 3; i++) {
    const client = await pool.ask()
    await client.ended
    await pool.record(client)
    clients.push(client)
  }
  const ids = clients.map((client) => client.handle?.id).reverse()
  const [newest] = await pool.jobs.list({ limit: 1 })
  const rest = await pool.jobs.list({ limit: 2, after: newest?.id, state: 'completed' })
  expect([newest?.id, ...rest.map((job) => job.id)]).toEqual(ids)
  expect(await pool.jobs.list({ limit: 10, state: 'queued' })).toEqual([])
  expect(await pool.jobs.show('00000000-0000-7000-8000-000000000000')).toBeUndefined()
})
