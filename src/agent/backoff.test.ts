import { expect, test } from 'vitest'
import { simulatedRuntime } from '#testkit'
import { Backoff } from './backoff.ts'

test('waits double from 0.2 s to 30 s, each drawn from its upper half', () => {
  const backoff = new Backoff(simulatedRuntime(1))
  const whole = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]
  for (const most of whole) {
    const wait = backoff.next()
    expect(wait).toBeGreaterThanOrEqual(most / 2)
    expect(wait).toBeLessThanOrEqual(most)
  }
  backoff.reset()
  expect(backoff.next()).toBeLessThanOrEqual(200)
})

test('a crowded pool is asked again after the time it names, and soon', () => {
  const backoff = new Backoff(simulatedRuntime(1))
  const waits = Array.from({ length: 12 }, () => backoff.next(1_000))
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(1_100)
  expect(Math.max(...waits)).toBeLessThanOrEqual(9_000)
  expect(backoff.next(3_600_000)).toBeLessThanOrEqual(38_000)
})

test('two workers do not knock in step', () => {
  const waits = [1, 2, 3, 4].map((seed) => new Backoff(simulatedRuntime(seed)).next())
  expect(new Set(waits).size).toBe(4)
})
