import path from 'node:path'
import { expect, test } from 'vitest'
import type { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { migrate, openDatabase, readMigrations, startEmbeddedPostgres } from '#storage'
import { SmallPool } from '../testkit/small-pool.ts'
import { answersIn, type SmallClient } from '../testkit/small-workers.ts'
import { temporaryFolder } from '../testkit/temporary-folder.ts'

const migrations = path.join(import.meta.dirname, '../../migrations')

/** A database that takes longer than the pool's patience to come back, on a busy machine: nothing was done, and the client asks again. */
async function refusedUnwritten(error: PoolError): Promise<undefined> {
  expect(error.code).toBe('database_unavailable')
  await systemRuntime.sleep(100)
}

test('the database is killed under load: every request is answered, and every answer is on record', async () => {
  using folder = temporaryFolder()
  await using server = await startEmbeddedPostgres({ dataDir: folder.path, runtime: systemRuntime })
  await using database = await openDatabase({ target: server.target, runtime: systemRuntime })
  await migrate(database, await readMigrations(migrations))
  await using pool = await SmallPool.open(database, { settings: { queueWaitMs: 60_000 } })
  for (const name of ['a', 'b', 'c', 'd']) pool.workers.join(name, { slots: 8, plan: answersIn(20) })

  const clients: SmallClient[] = []
  let asking = true
  const askers = Array.from({ length: 16 }, async () => {
    while (asking) {
      const client = await pool.ask().catch(refusedUnwritten)
      if (!client) continue
      clients.push(client)
      await client.ended
    }
  })
  for (let round = 0; round < 2; round++) {
    const served = clients.length
    await expect.poll(() => clients.length, { timeout: 100_000 }).toBeGreaterThan(served + 100)
    const { pid } = server
    process.kill(pid, 'SIGKILL')
    await expect.poll(() => server.pid, { timeout: 100_000 }).not.toBe(pid)
  }
  const served = clients.length
  await expect.poll(() => clients.length, { timeout: 100_000 }).toBeGreaterThan(served + 100)
  asking = false
  await Promise.all(askers)
  const replies = await Promise.all(clients.map((client) => client.ended))
  expect(replies.filter((reply) => reply.refusal)).toEqual([])
  await expect.poll(() => pool.jobs.load.unsettled, { timeout: 100_000 }).toBe(0)
  const [row] = await database.sql<{ all: number; completed: number; segments: number }[]>`
    select count(*)::int as all, count(*) filter (where state = 'completed')::int as completed,
           (select count(*)::int from segments where outcome = 'ended') as segments
      from jobs`
  expect(row).toEqual({ all: clients.length, completed: clients.length, segments: clients.length })
}, 500_000)
