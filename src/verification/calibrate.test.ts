import fc from 'fast-check'
import { expect, test } from 'vitest'
import { calibrate, type HonestRun } from './calibrate.ts'

/** `count` honest runs with means spread evenly up to `highest`. */
const runs = (count: number, highest: number, more: Partial<HonestRun> = {}): HonestRun[] =>
  Array.from({ length: count }, (_, i) => ({
    vouchedBy: 'reference',
    mean: (highest * (i + 1)) / count,
    max: 0.8,
    ...more,
  }))

test('until there are 3,000 runs a pair is judged by the defaults', () => {
  expect(calibrate(runs(2_999, 0.4))).toMatchObject({ comparable: true, thresholds: { mean: 0.25, position: 2 } })
  expect(calibrate([])).toMatchObject({
    comparable: true,
    thresholds: { mean: 0.25, position: 2 },
    honestHitRateMax: 1,
  })
})

test('nothing in 200 honest runs is reported as at most 1.5 %, not as zero', () => {
  const result = calibrate(runs(200, 0.15))
  expect(result.comparable && result.honestHitRateMax).toBeCloseTo(0.01487, 5)
})

test('from 3,000 runs on the threshold is the highest honest mean, from 4,742 on the second highest', () => {
  const mean = (count: number) => {
    const result = calibrate(runs(count, 0.4))
    return result.comparable && result.thresholds.mean
  }
  expect(mean(3_000)).toBe(0.4)
  expect(mean(4_741)).toBe(0.4)
  expect(mean(4_742)).toBeCloseTo((0.4 * 4_741) / 4_742, 12)
  // Python: P(Bin(10,000, 0.001) > k) is 0.9708 for k = 4 and 0.9330 for k = 5.
  expect(mean(10_000)).toBeCloseTo((0.4 * 9_996) / 10_000, 12)
})

test('a threshold is never below 0.25, and a pair that needs more than 0.5 is not compared', () => {
  expect(calibrate(runs(3_000, 0.1))).toMatchObject({ comparable: true, thresholds: { mean: 0.25 } })
  expect(calibrate(runs(3_000, 0.5))).toMatchObject({ comparable: true, thresholds: { mean: 0.5 } })
  expect(calibrate(runs(3_000, 0.51))).toEqual({ comparable: false, why: 'mean_too_high', runs: 3_000 })
})

test('a position may fall short by twice what honest runs do, as long as that still says anything', () => {
  expect(calibrate(runs(50, 0.1, { max: 1.2 }))).toMatchObject({ thresholds: { position: 2.4 } })
  expect(calibrate(runs(50, 0.1, { max: 1.5 }))).toEqual({ comparable: false, why: 'position_too_high', runs: 50 })
})

test('runs that nobody vouches for cannot poison a calibration', () => {
  const honest = runs(3_000, 0.3)
  const poison = runs(3_000, 3, { vouchedBy: 'nobody', max: 3 })
  expect(calibrate([...poison, ...honest])).toEqual(calibrate(honest))
})

test('of honest answers at most one in a thousand is called a hit, in 95 of 100 calibrations', () => {
  // Honest means of an exponential distribution: P(mean > t) = e^(−t/0.05). Above 0.345 is one in a thousand.
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 }), (seed) => {
      let [state, good] = [seed, 0]
      const dice = () => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
        return (state + 0.5) / 2 ** 32
      }
      for (let round = 0; round < 100; round++) {
        const all = Array.from(
          { length: 3_000 },
          (): HonestRun => ({
            vouchedBy: 'two_operators',
            mean: Math.min(0.5, -0.05 * Math.log(dice())),
            max: 1,
          }),
        )
        const result = calibrate(all)
        if (result.comparable && Math.exp(-result.thresholds.mean / 0.05) <= 0.001) good++
      }
      expect(good).toBeGreaterThanOrEqual(84) // five standard deviations below 95
    }),
    { numRuns: 3 },
  )
})
