import { expect, test } from 'vitest'
import { WorkEstimate } from './work-estimate.ts'

const usage = (completionTokens: number) => ({ promptTokens: 80, completionTokens })

test('an answer is expected to be as long as answers were of late, and never longer than allowed', () => {
  const estimate = new WorkEstimate()
  const cost = (maxTokens: number) => estimate.of({ promptBytes: 0, maxTokens })
  const before = cost(10_000)
  for (let i = 0; i < 200; i++) estimate.ended(1, usage(20), true)
  expect(cost(10_000)).toBeLessThan(before)
  expect(Math.round(cost(10_000))).toBe(21)
  expect(cost(5)).toBe(6)
  expect(cost(0)).toBeGreaterThan(0)
})

test('reading a prompt costs an eighth of writing as much', () => {
  expect(new WorkEstimate().spent({ promptTokens: 80, completionTokens: 0 })).toBe(11)
})

test('the time to wait follows the pace of the last minute, within 1 and 60 s', () => {
  const estimate = new WorkEstimate()
  expect(estimate.waitMs(100)).toBe(5_000)
  estimate.tick(0)
  for (let second = 1; second <= 60; second++) {
    for (let i = 0; i < 10; i++) estimate.ended(1, usage(1), true)
    estimate.tick(second * 1_000)
  }
  expect([estimate.waitMs(100), estimate.waitMs(1), estimate.waitMs(100_000)]).toEqual([10_000, 1_000, 60_000])
})
