import { expect, test } from 'vitest'
import { ReturnTimes } from './return-times.ts'

test('strangers that find no room are called back one after the other, as fast as workers are let in', () => {
  const times = new ReturnTimes(0)
  for (let i = 0; i < 1_000; i++) times.letIn(i)
  const waits = Array.from({ length: 3_001 }, () => times.next(1_000))
  expect(waits[0]).toBe(1_000)
  expect(waits[1_500]).toBeCloseTo(2_000, 0) // 1,000 a second, half as many again
  expect(waits[3_000]).toBeCloseTo(3_000, 0)
})

test('a rush that is longer than the longest wait is spread over it, and who comes later waits a second', () => {
  const times = new ReturnTimes(0)
  const waits = Array.from({ length: 10_000 }, () => times.next(0))
  expect(Math.max(...waits)).toBeLessThanOrEqual(20_000)
  for (let from = 1_000; from < 20_000; from += 1_000) {
    const inThisSecond = waits.filter((wait) => wait >= from && wait < from + 1_000).length
    expect(inThisSecond).toBeGreaterThanOrEqual(290)
    expect(inThisSecond).toBeLessThanOrEqual(610)
  }
  expect(times.next(60_000)).toBe(1_000)
})
