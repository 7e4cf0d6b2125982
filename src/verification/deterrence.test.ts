import fc from 'fast-check'
import { expect, test } from 'vitest'
import { deterrenceDefaults, holdingNeeded, refuseProfitable } from './deterrence.ts'

test.each([
  [{ saving: 0.8, margin: 0.2, checkRatePpm: 30_000, sensitivity: 0.9 }, 149],
  [{ saving: 0.5, margin: 0.5, checkRatePpm: 30_000, sensitivity: 0.9 }, 38],
  [{ saving: 0.9, margin: 0.1, checkRatePpm: 10_000, sensitivity: 0.5 }, 1_800],
  [{ saving: 0.8, margin: 0.2, checkRatePpm: 100_000, sensitivity: 0.8 }, 50],
  [{ saving: 1, margin: 1, checkRatePpm: 1_000_000, sensitivity: 1 }, 1],
])('%j needs %i prices', (economy, prices) => {
  expect(holdingNeeded(economy)).toBe(prices)
})

const share = fc.double({ min: 0.02, max: 1, noNaN: true })
const economies = fc.record({
  saving: share,
  margin: share,
  checkRatePpm: fc.integer({ min: 2_000, max: 1_000_000 }),
  sensitivity: share,
})

test('with so much held no cheater expects more than an honest worker, whatever share it cheats on', () => {
  fc.assert(
    fc.property(economies, share, (economy, p) => {
      const { saving, margin, checkRatePpm, sensitivity } = economy
      const held = holdingNeeded(economy)
      const unseen = (1 - (checkRatePpm / 1e6) * sensitivity) ** (p * held)
      expect(held * (margin + p * saving) * unseen).toBeLessThanOrEqual(held * margin * (1 + 1e-9))
    }),
  )
})

test('the default configuration is one under which cheating does not pay', () => {
  expect(refuseProfitable(deterrenceDefaults)).toBeUndefined()
})

test('a configuration under which cheating pays is refused with the numbers', () => {
  expect(refuseProfitable({ ...deterrenceDefaults, heldPrices: 148 })).toEqual({
    code: 'cheating_pays',
    message:
      'Cheating would pay: a worker saves 80 % of a price, 3 % of answers are checked, a check sees 90 % of false ones, ' +
      'and only 148 prices are held with a margin of 20 %.',
    fix: 'Hold at least 149 prices, or check more.',
    needed: 149,
  })
  expect(refuseProfitable({ ...deterrenceDefaults, checkRatePpm: 10_000 })?.needed).toBe(445)
})

test('a configuration is refused exactly when it holds less than is needed', () => {
  fc.assert(
    fc.property(economies, fc.nat(5_000), (economy, heldPrices) => {
      const refusal = refuseProfitable({ ...economy, heldPrices })
      expect(refusal?.needed).toBe(heldPrices < holdingNeeded(economy) ? holdingNeeded(economy) : undefined)
    }),
  )
})

test.each([{ saving: 0 }, { margin: 2 }, { checkRatePpm: 0 }, { sensitivity: Number.NaN }])(
  '%j is no economy',
  (wrong) => {
    expect(() => holdingNeeded({ ...deterrenceDefaults, ...wrong })).toThrow('between 0 and 1')
  },
)
