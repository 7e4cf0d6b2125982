import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { type TestDatabase, testDatabase } from '../testkit/index.ts'
import { Breakers, type CircuitChange } from './breakers.ts'
import { reputationLimits } from './limits.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db?.[Symbol.asyncDispose]())

const idOf = (letter: string) => letter.repeat(64)

/** A clock that tests move; everything else is real. */
class Clock {
  ms = systemRuntime.now()
  readonly runtime = { ...systemRuntime, now: () => this.ms }
}

async function open(clock: Clock) {
  const told: CircuitChange[] = []
  const breakers = await Breakers.open({
    database: db.database,
    runtime: clock.runtime,
    onEvent: (change) => told.push(change),
    onChange: () => {},
    onProblem: (error) => expect.fail(String(error)),
  })
  return { breakers, told, [Symbol.dispose]: () => breakers[Symbol.dispose]() }
}

test('a worker that fails again and again gets no work for a while, then one run at a time, then all', async () => {
  const clock = new Clock()
  using pool = await open(clock)
  const { breakers, told } = pool
  for (let n = 0; n < 3; n++) breakers.ended(idOf('a'), 'error')
  expect(breakers.circuitOf(idOf('a'))).toBe('closed')
  breakers.ended(idOf('a'), 'timeout')
  expect(breakers.runsAllowed(idOf('a'))).toBe(0)
  expect(told).toMatchObject([{ event: 'circuit_opened', why: 'timeout', pauseMs: reputationLimits.openMsMin }])
  expect(breakers.runsAllowed(idOf('b'))).toBe(Number.MAX_SAFE_INTEGER)
  await breakers.settled()

  clock.ms += reputationLimits.openMsMin
  expect(breakers.runsAllowed(idOf('a'))).toBe(1)
  for (let n = 0; n < reputationLimits.probesMin; n++) breakers.ended(idOf('a'), 'success')
  expect(breakers.circuitOf(idOf('a'))).toBe('closed')
  expect(told.at(-1)).toMatchObject({ event: 'circuit_closed' })
  await breakers.settled()
  expect(await db.sql`select from breakers`).toHaveLength(0)
})

test('an open circuit outlives a restart, and other processes of the pool know of it', async () => {
  const clock = new Clock()
  using other = await open(clock)
  {
    using first = await open(clock)
    for (let n = 0; n < 2; n++) first.breakers.ended(idOf('c'), 'quality')
    await first.breakers.settled()
  }
  using second = await open(clock)
  expect(second.breakers.circuitOf(idOf('c'))).toBe('open')
  while (other.breakers.circuitOf(idOf('c')) !== 'open') await systemRuntime.sleep(10)
})

test('a session that breaks under many runs is one fault', async () => {
  using pool = await open(new Clock())
  for (let n = 0; n < 50; n++) pool.breakers.ended(idOf('d'), 'lost')
  expect(pool.breakers.circuitOf(idOf('d'))).toBe('closed')
})

test('an admin’s reset closes the circuit everywhere', async () => {
  const clock = new Clock()
  using one = await open(clock)
  using two = await open(clock)
  for (let n = 0; n < 2; n++) one.breakers.ended(idOf('e'), 'quality')
  while (two.breakers.circuitOf(idOf('e')) !== 'open') await systemRuntime.sleep(10)
  await db.database.transaction((tx) => two.breakers.reset(tx, idOf('e')))
  while (one.breakers.circuitOf(idOf('e')) !== 'closed') await systemRuntime.sleep(10)
  while (two.breakers.circuitOf(idOf('e')) !== 'closed') await systemRuntime.sleep(10)
})
