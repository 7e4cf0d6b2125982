import { expect, test } from 'vitest'
import { simulatedRuntime } from '../testkit/simulated-runtime.ts'
import { RequestRate, rateHeaders } from './request-rate.ts'

const rateWith = (bucketsMax = 100) => {
  const runtime = simulatedRuntime(1)
  return { runtime, rate: new RequestRate(runtime, bucketsMax) }
}

test('a key may send its minute at once, then one request each time its share has passed', () => {
  const { runtime, rate } = rateWith()
  expect([1, 2, 3].map(() => rate.take('ada', 3).retryAfterMs)).toEqual([0, 0, 0])
  expect(rate.take('ada', 3)).toEqual({ limit: 3, remaining: 0, resetMs: 60_000, retryAfterMs: 20_000 })
  runtime.advance(19_999)
  expect(rate.take('ada', 3).retryAfterMs).toBe(1)
  runtime.advance(1)
  expect(rate.take('ada', 3).retryAfterMs).toBe(0)
})

test('a refused request costs nothing, and rest never saves up more than a minute', () => {
  const { runtime, rate } = rateWith()
  for (let n = 0; n < 50; n++) rate.take('ada', 2)
  runtime.advance(30_000)
  expect(rate.take('ada', 2).retryAfterMs).toBe(0)
  runtime.advance(3_600_000)
  expect(rate.take('ada', 2).remaining).toBe(1)
})

test('keys do not use up each other', () => {
  const { rate } = rateWith()
  rate.take('ada', 1)
  expect(rate.take('ada', 1).retryAfterMs).toBeGreaterThan(0)
  expect(rate.take('bob', 1).retryAfterMs).toBe(0)
})

test('buckets that are full again are forgotten before others, and there are never too many', () => {
  const { runtime, rate } = rateWith(2)
  rate.take('ada', 1)
  runtime.advance(59_000)
  rate.take('bob', 1)
  runtime.advance(1_000)
  rate.take('cat', 1)
  expect(rate.size).toBe(2)
  expect(rate.take('bob', 1).retryAfterMs).toBeGreaterThan(0)
  rate.take('dan', 1)
  expect(rate.size).toBe(2)
})

test('the headers say durations as OpenAI does', () => {
  const headers = (resetMs: number) => rateHeaders({ limit: 60, remaining: 5, resetMs, retryAfterMs: 0 }).at(-1)
  expect([headers(80), headers(1_000), headers(1_500)]).toEqual(['80ms', '1s', '1.500s'])
})
