import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '../testkit/index.ts'
import { Standings } from './standings.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db?.[Symbol.asyncDispose]())

const idOf = (letter: string) => letter.repeat(64)
const open = () => Standings.open({ database: db.database, runtime: systemRuntime })

async function check(standings: Standings, workerId: string, outcome: 'clean' | 'hit', times = 1) {
  let last: Awaited<ReturnType<Standings['decide']>> | undefined
  for (let n = 0; n < times; n++) {
    const event = { kind: 'checked', outcome, by: outcome === 'hit' ? [idOf('f')] : [] } as const
    const key = { workerId, model: 'm', duty: 'serve' } as const
    last = await db.database.transaction((tx) => standings.decide(tx, key, event, 'a check'))
  }
  return last
}

async function until(met: () => boolean): Promise<void> {
  while (!met()) await systemRuntime.sleep(10)
}

test('a newcomer is checked always, gets two requests at once, and is trusted after twenty clean checks', async () => {
  using standings = await open()
  expect(standings.of(idOf('a'), 'm')).toMatchObject({ phase: 'probation', runsMax: 2, checkPpm: 1_000_000 })
  await check(standings, idOf('a'), 'clean', 20)
  await until(() => standings.of(idOf('a'), 'm').phase === 'trusted')
  const view = standings.of(idOf('a'), 'm')
  expect(view).toMatchObject({ clean: 20, runsMax: Number.MAX_SAFE_INTEGER, checkPpm: 857_143 })
  expect(view.weight).toBeGreaterThan(0.8)
  expect(standings.of(idOf('a'), 'another model').phase).toBe('probation')
})

test('another process of the pool hears of a decision, and one that starts later knows it', async () => {
  using one = await open()
  using two = await open()
  await check(one, idOf('b'), 'hit')
  await until(() => two.of(idOf('b'), 'm').phase === 'paused')
  using three = await open()
  expect(three.of(idOf('b'), 'm')).toMatchObject({ phase: 'paused', checkPpm: 1_000_000 })
})

test('hits pause, then freeze, and what is to be done about it stands beside the decision', async () => {
  using standings = await open()
  expect(await check(standings, idOf('c'), 'hit')).toMatchObject({ after: 'paused', acts: [{ act: 'pause_releases' }] })
  expect(await check(standings, idOf('c'), 'hit', 4)).toMatchObject({ after: 'frozen' })
  const acts = await db.sql`
    select act from standing_acts where worker_id = ${idOf('c')} and done_at is null order by decided_at, step`
  expect(acts.map(({ act }) => act)).toEqual(['pause_releases', 'freeze', 'call_tribunal'])
  await until(() => standings.of(idOf('c'), 'm').phase === 'frozen')
  expect(standings.of(idOf('c'), 'm')).toMatchObject({ weight: 0, runsMax: 0 })
  await db.database.transaction((tx) => standings.reset(tx, idOf('c')))
  await until(() => standings.of(idOf('c'), 'm').phase === 'probation')
})

test('two processes that decide about one worker at once lose no check', async () => {
  using one = await open()
  using two = await open()
  await Promise.all([check(one, idOf('d'), 'clean', 10), check(two, idOf('d'), 'clean', 10)])
  await until(() => one.of(idOf('d'), 'm').clean === 20)
  expect(one.list(idOf('d'))).toMatchObject([{ model: 'm', duty: 'serve', view: { phase: 'trusted' } }])
})
