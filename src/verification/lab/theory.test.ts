import { describe, expect, test } from 'vitest'
import { chartDefaults, newCharts, updateCharts } from '#reputation'
import { checkProfiles } from '../sampling.ts'
import { diceOf } from './dice.ts'
import { excursionOf } from './excursion.ts'
import { expectedOf } from './expected.ts'
import { honestTheory, theoryOf } from './theory.ts'
import { zoo } from './zoo.ts'

const delayOf = (name: string) => {
  const adversary = zoo.find((one) => one.name === name)
  if (!adversary) throw new Error(`nobody plays ${name}`)
  return expectedOf(adversary, 0.3, 7, 0).delayMean
}

describe('the chain keeps what the pool promises', () => {
  test.each([
    ['cached', 15],
    ['turncoat', 70],
    ['turncoat_late', 130],
    ['sparse', 300],
  ])('%s is found after %d requests or fewer on average', (name, limit) => {
    expect(delayOf(name)).toBeLessThanOrEqual(limit)
    expect(delayOf(name)).toBeGreaterThan(limit / 2)
  })

  test('an honest worker is accused less than once in a hundred million requests', () => {
    const { falseAlarmPerRequest, checkRate } = honestTheory(20_000)
    expect(falseAlarmPerRequest).toBeLessThan(1e-8)
    expect(checkRate).toBeLessThan(0.052)
    expect(checkRate).toBeGreaterThan(0.046)
  })
})

test('who is checked on everything is found after the sum of its hits, to the digit', () => {
  // One chart that alarms at the second hit in a row: with chance h of a hit the mean is (1 + h) / h² for a chart that one
  // clean check brings back to zero (runs of successes: Feller, volume 1, XIII.7).
  const params = { cheatRates: [0.5], honestHitRate: 0.4, sensitivity: 0.99, falseAlarmPerCheckMax: 0.55 }
  const charts = newCharts(params)
  const once = updateCharts(charts, 'hit')
  expect(once.alarm).toBe(false)
  expect(updateCharts(once.charts, 'hit').alarm).toBe(true)
  expect(updateCharts(once.charts, 'clean').above).toBe(false)
  for (const hit of [0.1, 0.3, 0.9]) {
    const { mean, caught } = theoryOf({ hit, params, profile: checkProfiles.required })
    expect(caught).toBeCloseTo(1, 6)
    expect(mean).toBeCloseTo((1 + hit) / hit ** 2, 3)
  }
})

test('excursions end as often in the alarm as when they are played', () => {
  const charts = updateCharts(newCharts(chartDefaults), 'hit').charts
  const { alarm, back } = excursionOf(charts, 0.03)
  const alarms = alarm.reduce((sum, chance) => sum + chance, 0)
  expect(alarms + back.reduce((sum, chance) => sum + chance, 0)).toBeCloseTo(1, 9)
  const dice = diceOf(1)
  let played = 0
  for (let n = 0; n < 4_000; n++) {
    let now = { charts, above: true, alarm: false }
    while (now.above && !now.alarm) now = updateCharts(now.charts, dice() < 0.03 ? 'hit' : 'clean')
    if (now.alarm) played += 1
  }
  expect(Math.abs(played / 4_000 - alarms)).toBeLessThan(0.01)
})
