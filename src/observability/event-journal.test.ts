import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '../testkit/index.ts'
import { EventJournal } from './event-journal.ts'
import { observabilityLimits } from './limits.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db?.[Symbol.asyncDispose]())

test('what happened is read in order, by kind, from a time on, page by page', async () => {
  let now = 1_000_000
  const runtime = { ...systemRuntime, now: () => now }
  await using journal = new EventJournal({
    database: db.database,
    runtime,
    onProblem: (error) => expect.fail(String(error)),
  })
  journal.add('worker_joined', 'anna', { operator: 'with "quotes", \\ and ä' })
  now += 5_000
  journal.add('circuit_opened', 'anna', { why: 'timeout', ms: 5 })
  journal.add('worker_left', 'anna')
  await journal.flush()
  const all = await journal.read({ limit: 10 })
  expect(all.map(({ type, at }) => [type, at])).toEqual([
    ['worker_joined', 1_000_000],
    ['circuit_opened', 1_005_000],
    ['worker_left', 1_005_000],
  ])
  expect(all.map(({ details }) => details)).toEqual([
    { operator: 'with "quotes", \\ and ä' },
    { why: 'timeout', ms: 5 },
    {},
  ])
  expect(await journal.read({ types: ['circuit_opened'], limit: 10 })).toEqual([all[1]])
  expect(await journal.read({ since: 1_000_001, limit: 10 })).toEqual(all.slice(1))
  expect(await journal.read({ after: all[1]?.id ?? '', limit: 10 })).toEqual(all.slice(2))
  expect(await journal.read({ limit: 1 })).toEqual(all.slice(0, 1))
})

test('events are forgotten after thirty days', async () => {
  let tick = () => {}
  const start = systemRuntime.now()
  const runtime = {
    ...systemRuntime,
    now: () => start,
    every: (ms: number, run: () => void) => {
      if (ms === observabilityLimits.eventPruneMs) tick = run
      return { cancel() {} }
    },
  }
  await db.sql`insert into events (type, subject, at, details) values
    ('worker_left', 'old', ${start - 31 * 86_400_000}::timestamptz, '{}'),
    ('worker_left', 'young', ${start - 29 * 86_400_000}::timestamptz, '{}')`
  await using journal = new EventJournal({
    database: db.database,
    runtime,
    onProblem: (error) => expect.fail(String(error)),
  })
  const subjects = async () => (await journal.read({ types: ['worker_left'], limit: 10 })).map(({ subject }) => subject)
  tick()
  while ((await subjects()).includes('old')) await systemRuntime.sleep(10)
  expect(await subjects()).toContain('young')
})
