import { expect, test } from 'vitest'
import type { BudgetLeft } from '#ledger'
import { simulatedRuntime } from '../testkit/simulated-runtime.ts'
import { RequestRate } from './request-rate.ts'

const minuteMs = 60_000

/** At the beginning of a minute of the UTC clock. */
function rateWith(ratedKeysMax = 100) {
  const runtime = simulatedRuntime(1)
  runtime.advance(minuteMs - (runtime.now() % minuteMs))
  return { runtime, rate: new RequestRate(runtime, { ratedKeysMax, idleRequestsMin: 100 }) }
}

/** What the ledger says, of the minute that has begun at `from`. */
const leftOf = (requests: number, from: number): BudgetLeft => {
  const nothing = { total: null, day: null, dayResetsAt: 0, tokens: null }
  return { ...nothing, available: 0n, requests, minuteResetsAt: from + minuteMs }
}

test('a key may send its minute at once, then nothing until the next minute of the UTC clock', () => {
  const { runtime, rate } = rateWith()
  runtime.advance(10_000)
  expect([1, 2, 3].map(() => rate.enter('ada', 3).isLetIn)).toEqual([true, true, true])
  const fourth = rate.enter('ada', 3)
  expect([fourth.isLetIn, fourth.resetMs]).toEqual([false, 50_000])
  runtime.advance(49_999)
  expect(rate.enter('ada', 3).isLetIn).toBe(false)
  runtime.advance(1)
  expect(rate.enter('ada', 3).isLetIn).toBe(true)
})

test('a request that is not taken on gives its place back, once, and one that is taken on never', () => {
  const { rate } = rateWith()
  const refused = rate.enter('ada', 1)
  expect(rate.enter('ada', 1).isLetIn).toBe(false)
  refused.notTaken()
  refused.notTaken()
  const served = rate.enter('ada', 1)
  served.taken(undefined)
  served.notTaken()
  expect(rate.enter('ada', 1).isLetIn).toBe(false)
})

test('a flood of requests that are not taken on is told to wait for the next minute', () => {
  const { runtime, rate } = rateWith()
  const fail = () => rate.enter('ada', 3).notTaken()
  for (let n = 0; n < 99; n++) fail()
  const late = { code: 'queue_full', message: 'No.', fix: 'Wait.', retryAfterMs: 1_000 } as const
  const last = rate.enter('ada', 3)
  expect(last.isLetIn).toBe(true)
  last.notTaken()
  expect(last.notBefore(late).retryAfterMs).toBe(minuteMs)
  expect(rate.enter('ada', 3).isLetIn).toBe(false)
  runtime.advance(minuteMs)
  expect(rate.enter('ada', 3).isLetIn).toBe(true)
})

test('what the ledger has counted in other processes counts, and a limit that is raised acts at once', () => {
  const { runtime, rate } = rateWith()
  rate.enter('ada', 5).taken(leftOf(0, runtime.now()))
  expect(rate.enter('ada', 5).isLetIn).toBe(false)
  expect(rate.enter('ada', 7).headers()).toEqual(
    ['limit', '7', 'remaining', '2', 'reset', '60s'].map((one, n) => (n % 2 ? one : `x-ratelimit-${one}-requests`)),
  )
})

test('a ledger whose clock is ahead is believed, and what it said of a minute that is over is forgotten', () => {
  const { runtime, rate } = rateWith()
  const now = runtime.now()
  const turn = rate.enter('ada', 2)
  turn.notTaken(leftOf(0, now + minuteMs))
  expect(turn.resetMs).toBe(2 * minuteMs)
  expect(rate.enter('bob', 2).resetMs).toBe(minuteMs)
  const slow = rate.enter('cat', 2)
  runtime.advance(minuteMs)
  slow.taken(leftOf(0, now))
  expect([1, 2, 3].map(() => rate.enter('cat', 2).isLetIn)).toEqual([true, true, false])
})

test('who was let in before a ledger that is ahead began the next minute gives no place back in that one', () => {
  const { runtime, rate } = rateWith()
  const next = runtime.now() + minuteMs
  const [first, ...slow] = [1, 2, 3].map(() => rate.enter('ada', 3))
  first?.taken(leftOf(2, next))
  for (const turn of slow) turn.notTaken()
  expect(first?.headers()).toContain('2')
  expect([1, 2, 3, 4].map(() => rate.enter('ada', 3).isLetIn)).toEqual([true, true, true, false])
})

test('a refusal for another reason never names an earlier time than the key’s next request has', () => {
  const { rate } = rateWith()
  const turn = rate.enter('ada', 1)
  turn.taken(undefined)
  const gone = { code: 'no_worker', message: 'No.', fix: 'Wait.' } as const
  expect(turn.notBefore(gone).retryAfterMs).toBe(minuteMs)
  expect(turn.notBefore({ ...gone, retryAfterMs: 2 * minuteMs }).retryAfterMs).toBe(2 * minuteMs)
  const final = { code: 'deadline_exceeded', message: 'No.', fix: 'Ask for less.' } as const
  expect(turn.notBefore(final)).toBe(final)
  expect(rate.enter('bob', 2).notBefore(gone)).toBe(gone)
})

test('keys do not use up each other, and there are never too many', () => {
  const { rate } = rateWith(2)
  rate.enter('ada', 1)
  expect(rate.enter('ada', 1).isLetIn).toBe(false)
  expect(rate.enter('bob', 1).isLetIn).toBe(true)
  rate.enter('cat', 1)
  expect(rate.size).toBe(2)
  expect(rate.enter('bob', 1).isLetIn).toBe(false)
})
