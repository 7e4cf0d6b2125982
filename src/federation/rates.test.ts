import { expect, test } from 'vitest'
import { Rates } from './rates.ts'

test('a name has so many a minute, and a flood does not lock it out', () => {
  const rates = new Rates(60, 10)
  expect(Array.from({ length: 100 }, () => rates.take('anna', 0)).filter(Boolean)).toHaveLength(60)
  expect(rates.has('anna', 999)).toBe(false)
  expect(rates.take('anna', 1_000)).toBe(true)
  expect(rates.take('anna', 1_000)).toBe(false)
  expect(rates.take('bob', 1_000)).toBe(true)
})

test('more names than it may keep do not make it grow, and the first is forgotten', () => {
  const rates = new Rates(1, 2)
  for (const name of ['a', 'b', 'c']) expect(rates.take(name, 0)).toBe(true)
  expect(rates.take('b', 0)).toBe(false)
  expect(rates.take('a', 0)).toBe(true)
})
