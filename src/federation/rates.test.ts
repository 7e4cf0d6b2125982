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

test('who takes more than there is waits until it is paid', () => {
  const rates = new Rates(60, 10)
  expect(rates.take('anna', 0, 59)).toBe(true)
  expect(rates.take('anna', 0, 20)).toBe(true)
  expect(rates.has('anna', 19_999)).toBe(false)
  expect(rates.has('anna', 20_000)).toBe(true)
  // nobody owes more than a minute
  expect(rates.take('anna', 20_000, 1_000)).toBe(true)
  expect(rates.has('anna', 81_000)).toBe(true)
})

test('more names than it may keep do not make it grow, and the first is forgotten', () => {
  const rates = new Rates(1, 2)
  for (const name of ['a', 'b', 'c']) expect(rates.take(name, 0)).toBe(true)
  expect(rates.take('b', 0)).toBe(false)
  expect(rates.take('a', 0)).toBe(true)
})
