import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../testkit/index.ts'
import { eventually, Neighbourhood } from '../testkit/neighbourhood.ts'

const town = new Neighbourhood()
let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await db?.drop()
})

test('a pool that looks closely checks one answer in ten of a worker with a long clean record, and need hold fewer prices', async () => {
  const env = { DATABASE_URL: db.url }
  const holding = ['--hold-payments', '45']
  const sampled = town.run(['pool', '--json', '--port', '0', '--data', town.dataDir, ...holding], env)
  expect(await sampled.ended).not.toBe(0)
  expect(sampled.stderr).toContain('3 % of answers are checked')
  expect(sampled.stderr).toContain('check_profile')

  await town.start('pool', ['--check-profile', 'strict', ...holding], env)
  const worker = 'ee'.repeat(32)
  await db.sql`
    insert into standings (worker_id, model, duty, phase, clean, heights, posterior_clean, posterior_hits, accusers, changed_at)
    values (${worker}, 'moss', 'serve', 'trusted', 900, '{0,0,0}', 200, 0, '{}', now())`
  await eventually('the rate to be in force', async () => {
    const [row] = await db.sql`
      select from rate_tables where rates = ${JSON.stringify([[worker, 'moss', 100_000]])}::text::jsonb`
    return row
  })
}, 120_000)
