import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Posterior, posteriorAfter, routingWeight, unknownPosterior, withForeignWord } from './posterior.ts'

const checked = (clean: number, start: Posterior = unknownPosterior) =>
  Array.from({ length: clean }).reduce<Posterior>((posterior) => posteriorAfter(posterior, 'clean'), start)

test('a newcomer weighs 0.05, twenty clean checks make it 0.86, a long clean record 0.985 and no more', () => {
  expect(routingWeight(unknownPosterior)).toBeCloseTo(0.05, 10)
  const twenty = checked(20)
  expect(twenty.clean).toBeCloseTo((1 - 0.995 ** 20) / 0.005, 9)
  expect(routingWeight(twenty)).toBeCloseTo(0.05 ** (1 / (1 + twenty.clean)), 9)
  expect(routingWeight(checked(5_000))).toBeCloseTo(0.05 ** (1 / 201), 9)
})

test('an old hit fades: after 1,000 clean checks it weighs less than a hundredth of a check', () => {
  const hit = posteriorAfter(checked(100), 'hit')
  expect(hit.hits).toBe(1)
  expect(checked(1_000, hit).hits).toBeLessThan(0.01)
})

const outcomes = fc.array(fc.constantFrom('clean' as const, 'hit' as const), { maxLength: 300 })
const posteriors = outcomes.map((all) => all.reduce<Posterior>(posteriorAfter, unknownPosterior))

test('200 checks is all that is remembered, a clean one never lowers the weight and a hit always does', () => {
  fc.assert(
    fc.property(posteriors, (posterior) => {
      const weight = routingWeight(posterior)
      expect(posterior.clean + posterior.hits).toBeLessThan(200)
      expect(weight).toBeGreaterThan(0)
      expect(weight).toBeLessThan(1)
      expect(routingWeight(posteriorAfter(posterior, 'hit'))).toBeLessThan(weight)
      if (posterior.hits > 0 || posterior.clean < 199) {
        expect(routingWeight(posteriorAfter(posterior, 'clean'))).toBeGreaterThan(weight)
      }
    }),
  )
})

test('a foreign pool adds at most ten checks, in its proportion, and none if it is not trusted', () => {
  expect(withForeignWord(unknownPosterior, { clean: 900, hits: 100, trust: 1 })).toEqual({ clean: 9, hits: 1 })
  expect(withForeignWord(unknownPosterior, { clean: 900, hits: 100, trust: 0.5 })).toEqual({ clean: 4.5, hits: 0.5 })
  expect(withForeignWord(unknownPosterior, { clean: 3, hits: 0, trust: 1 })).toEqual({ clean: 3, hits: 0 })
  expect(withForeignWord({ clean: 7, hits: 2 }, { clean: 900, hits: 100, trust: 0 })).toEqual({ clean: 7, hits: 2 })
  expect(withForeignWord({ clean: 7, hits: 2 }, { clean: 0, hits: 0, trust: 1 })).toEqual({ clean: 7, hits: 2 })
  expect(() => withForeignWord(unknownPosterior, { clean: 1, hits: 0, trust: 2 })).toThrow('trust is a share')
})

test('whatever another pool claims, its word is worth at most ten checks times our trust', () => {
  const counts = fc.integer({ min: 0, max: 1e9 })
  fc.assert(
    fc.property(counts, counts, fc.double({ min: 0, max: 1, noNaN: true }), (clean, hits, trust) => {
      const own = checked(100)
      const both = withForeignWord(own, { clean, hits, trust })
      expect(both.clean - own.clean + both.hits - own.hits).toBeLessThanOrEqual(10 * trust + 1e-9)
    }),
  )
})
