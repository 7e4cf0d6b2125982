import { expect, test } from 'vitest'
import { timeSequence } from './time-sequence.ts'

test('numbers grow with the clock and never repeat, also when it stands or goes back', () => {
  let now = 1_000
  const next = timeSequence({ now: () => now })
  expect([next(), next()]).toEqual([1_000, 1_001])
  now = 5_000
  expect(next()).toBe(5_000)
  now = 10
  expect(next()).toBe(5_001)
})
