import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Charts, type CheckOutcome, chartDefaults, newCharts, updateCharts } from './charts.ts'
import { reputationLimits } from './limits.ts'

/** `c` is a clean check, `h` a hit. */
const chartsOf = (outcomes: string, charts: Charts = newCharts()) => {
  let last = { charts, above: false, alarm: false }
  let alarmAt = 0
  for (const [i, letter] of [...outcomes].entries()) {
    last = updateCharts(last.charts, letter === 'h' ? 'hit' : 'clean')
    if (last.alarm && alarmAt === 0) alarmAt = i + 1
  }
  return { heights: last.charts.heights, above: last.above, alarmAt }
}

describe('the default charts', () => {
  test('their steps and their end are the logarithms that the manual prints', () => {
    const { steps, alarmHeight } = newCharts()
    // e1 = 0.2857, 0.0959, 0.02947; ln(0.7143/0.999), ln(285.7), …; ln(3e6). Computed with Python's math.log.
    expect(steps).toEqual([
      { clean: -335_452, hit: 5_654_942 },
      { clean: -99_815, hit: 4_563_306 },
      { clean: -28_912, hit: 3_383_373 },
    ])
    expect(alarmHeight).toBe(14_914_123)
  })

  test.each([
    ['nothing', '', 0],
    ['one hit', 'h', 0],
    ['two hits in a row: 11.31 of 14.91', 'hh', 0],
    ['three hits in a row: 16.96', 'hhh', 3],
    ['three hits with 6 clean checks between: 16.96 − 2.01 = 14.95', 'hccchccch', 9],
    ['three hits with 7 clean between: 14.62 on the first chart, 12.99 on the second', 'hccchcccch', 0],
    [
      'four hits with 33 clean between: 18.25 − 3.29 = 14.96 on the second chart',
      `${`h${'c'.repeat(11)}`.repeat(3)}h`,
      37,
    ],
    ['five hits with 60 clean between: 16.92 − 1.73 = 15.18 on the third', `${`h${'c'.repeat(15)}`.repeat(4)}h`, 65],
  ])('%s', (_, outcomes, alarmAt) => {
    expect(chartsOf(outcomes).alarmAt).toBe(alarmAt)
  })

  test('a worker with one hit is checked without exception for 118 clean checks, then the hit is forgotten', () => {
    expect(chartsOf(`h${'c'.repeat(16)}`).heights[0]).toBe(5_654_942 - 16 * 335_452)
    expect(chartsOf(`h${'c'.repeat(17)}`).heights[0]).toBe(0)
    expect(chartsOf(`h${'c'.repeat(117)}`).above).toBe(true)
    expect(chartsOf(`h${'c'.repeat(118)}`)).toEqual({ heights: [0, 0, 0], above: false, alarmAt: 0 })
  })
})

test('where nobody confirms hits it takes five in a row: ln(0.292/0.01) = 3.37 each', () => {
  const charts = newCharts({ ...chartDefaults, honestHitRate: reputationLimits.honestHitRateUnconfirmed })
  expect(chartsOf('hhhhhh', charts).alarmAt).toBe(5)
  expect(charts.steps[0]).toEqual({ clean: -335_261, hit: 3_374_169 })
})

const outcomes = fc.array(fc.constantFrom<CheckOutcome>('clean', 'clean', 'clean', 'hit'), { maxLength: 120 })

test('a chart stands where Page put it: the sum of all steps less the lowest sum so far', () => {
  fc.assert(
    fc.property(outcomes, (checks) => {
      let charts = newCharts()
      const sums = charts.steps.map(() => 0)
      const lowest = charts.steps.map(() => 0)
      for (const check of checks) {
        charts = updateCharts(charts, check).charts
        for (const [i, step] of charts.steps.entries()) {
          sums[i] = (sums[i] ?? 0) + step[check]
          lowest[i] = Math.min(lowest[i] ?? 0, sums[i] ?? 0)
        }
      }
      expect(charts.heights).toEqual(sums.map((sum, i) => sum - (lowest[i] ?? 0)))
    }),
  )
})

test('one more hit never helps a worker, wherever it falls', () => {
  fc.assert(
    fc.property(outcomes, fc.nat(), (checks, at) => {
      const text = checks.map((check) => check[0]).join('')
      const place = at % (text.length + 1)
      const without = chartsOf(text).heights
      const more = chartsOf(`${text.slice(0, place)}h${text.slice(place)}`).heights
      expect(more.every((height, i) => height >= (without[i] ?? 0))).toBe(true)
    }),
  )
})

test('charts that are stored and read back go on where they were', () => {
  fc.assert(
    fc.property(outcomes, outcomes, (first, second) => {
      const text = (checks: CheckOutcome[]) => checks.map((check) => check[0]).join('')
      const stored: readonly number[] = JSON.parse(JSON.stringify(chartsOf(text(first)).heights))
      const resumed = newCharts(chartDefaults, stored)
      expect(chartsOf(text(second), resumed).heights).toEqual(chartsOf(text(first) + text(second)).heights)
    }),
  )
})

/** The exact chance that an honest worker's charts alarm within `checks`: every height they can have, with its probability. */
function falseAlarmChance(params: typeof chartDefaults, checks: number): number {
  let alive = new Map([['', { charts: newCharts(params), chance: 1 }]])
  let alarmed = 0
  for (let n = 0; n < checks; n++) {
    const next: typeof alive = new Map()
    for (const { charts, chance } of alive.values()) {
      for (const outcome of ['clean', 'hit'] as const) {
        const share = chance * (outcome === 'hit' ? params.honestHitRate : 1 - params.honestHitRate)
        const step = updateCharts(charts, outcome)
        const key = step.charts.heights.join()
        if (step.alarm) alarmed += share
        else next.set(key, { charts: step.charts, chance: (next.get(key)?.chance ?? 0) + share })
      }
    }
    alive = next
  }
  return alarmed
}

test.each([0.001, 0.01, 0.05])(
  'an honest worker with a hit rate of %s is falsely accused within n checks with a chance of at most nα, computed exactly',
  (honestHitRate) => {
    const params = { ...chartDefaults, honestHitRate, falseAlarmPerCheckMax: 1e-3 }
    for (const n of [1, 5, 40]) {
      expect(falseAlarmChance(params, n)).toBeLessThanOrEqual(n * params.falseAlarmPerCheckMax)
    }
  },
)

test.each([
  ['no chart', { cheatRates: [] }],
  ['a cheater who never cheats', { cheatRates: [0] }],
  ['an honest worker hit as often as a cheater', { honestHitRate: 0.95 }],
  ['a false alarm for certain', { falseAlarmPerCheckMax: 1 }],
])('charts for %s are not drawn', (_, wrong) => {
  expect(() => newCharts({ ...chartDefaults, ...wrong })).toThrow()
})

test('heights of other charts are not taken for these', () => {
  expect(() => newCharts(chartDefaults, [0, 0])).toThrow('one height for each chart')
  expect(() => newCharts(chartDefaults, [0, -1, 0])).toThrow('0 or more')
})
