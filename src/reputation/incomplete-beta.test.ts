import fc from 'fast-check'
import { expect, test } from 'vitest'
import { betaQuantile, logGamma, regularisedBeta } from './incomplete-beta.ts'
import { proportionMax } from './proportion-max.ts'

/** Slow and plain: Simpson's rule over the density xᵃ⁻¹(1 − x)ᵇ⁻¹, divided by the same over the whole. `a`, `b` ≥ 3. */
function integrated(x: number, a: number, b: number): number {
  const area = (to: number) => {
    const pieces = 4_000
    let sum = 0
    for (let i = 0; i <= pieces; i++) {
      const t = (to * i) / pieces
      sum += (i === 0 || i === pieces ? 1 : i % 2 === 1 ? 4 : 2) * t ** (a - 1) * (1 - t) ** (b - 1)
    }
    return (sum * to) / pieces / 3
  }
  return area(x) / area(1)
}

/** P(at most k of n) by summing the binomial distribution. */
function binomialTail(k: number, n: number, p: number): number {
  let [term, sum] = [(1 - p) ** n, 0]
  for (let i = 0; i <= k; i++) {
    sum += term
    term *= ((n - i) / (i + 1)) * (p / (1 - p))
  }
  return sum
}

test('the gamma function is the factorial, and √π at one half', () => {
  let factorial = 0
  for (let n = 1; n <= 170; n++) {
    factorial += Math.log(n)
    expect(logGamma(n + 1)).toBeCloseTo(factorial, 9)
  }
  expect(logGamma(0.5)).toBeCloseTo(Math.log(Math.PI) / 2, 13)
})

test('the incomplete beta function is the area under the density, integrated slowly', () => {
  const parameter = fc.double({ min: 3, max: 60, noNaN: true })
  fc.assert(
    fc.property(fc.double({ min: 0.01, max: 0.99, noNaN: true }), parameter, parameter, (x, a, b) => {
      expect(regularisedBeta(x, a, b)).toBeCloseTo(integrated(x, a, b), 7)
    }),
    { numRuns: 60 },
  )
})

test('it is the tail of a binomial distribution', () => {
  const cases = fc
    .integer({ min: 1, max: 250 })
    .chain((n) => fc.tuple(fc.constant(n), fc.integer({ min: 0, max: n - 1 })))
  fc.assert(
    fc.property(cases, fc.double({ min: 0.001, max: 0.9, noNaN: true }), ([n, k], p) => {
      expect(1 - regularisedBeta(p, k + 1, n - k)).toBeCloseTo(binomialTail(k, n, p), 9)
    }),
  )
})

test.each([
  // p, a, b, quantile: scipy.stats.beta.ppf of SciPy 1.17.1
  [0.05, 1, 1, 0.05],
  [0.05, 21, 1, 0.8670540889734766],
  [0.05, 3, 2, 0.2486046257301818],
  [0.05, 187.5, 14.25, 0.8975378388772095],
  [0.05, 201, 1, 0.9852063763052851],
  [0.5, 0.5, 0.5, 0.5],
])('the %f quantile of Beta(%f, %f) is the published one', (p, a, b, quantile) => {
  expect(betaQuantile(p, a, b)).toBeCloseTo(quantile, 11)
})

test('where the quantile has a formula it agrees: p^(1/a) for Beta(a, 1), 1 − (1 − p)^(1/b) for Beta(1, b)', () => {
  const probability = fc.double({ min: 1e-6, max: 1 - 1e-6, noNaN: true })
  fc.assert(
    fc.property(probability, fc.double({ min: 0.5, max: 1e4, noNaN: true }), (p, a) => {
      expect(betaQuantile(p, a, 1)).toBeCloseTo(p ** (1 / a), 10)
      expect(betaQuantile(p, 1, a)).toBeCloseTo(-Math.expm1(Math.log1p(-p) / a), 10)
    }),
  )
})

test('quantile and probability are each other turned round', () => {
  const parameter = fc.double({ min: 0.5, max: 500, noNaN: true })
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 0.999, noNaN: true }), parameter, parameter, (p, a, b) => {
      expect(regularisedBeta(betaQuantile(p, a, b), a, b)).toBeCloseTo(p, 8)
    }),
  )
})

test.each([
  // hits, trials, confidence, bound: R's binom.test (two-sided 95 % uses 0.975 on each side), and 1 − 0.05^(1/n) for none
  [4, 10, 0.975, 0.7376219],
  [5, 20, 0.975, 0.4910459],
  [682, 925, 0.975, 0.7654066],
  [0, 200, 0.95, 0.014867],
  [0, 3_000, 0.95, 0.0009981],
  [1, 3_000, 0.95, 0.0015803],
])('%i hits in %i: the share is at most what R says, at confidence %f', (hits, trials, confidence, bound) => {
  expect(proportionMax(hits, trials, confidence)).toBeCloseTo(bound, 6)
})

test('no false conviction in forty million requests bounds their share by 7.5 in a hundred million', () => {
  expect(proportionMax(0, 4e7, 0.95) * 1e8).toBeCloseTo(7.48933, 4)
})

test('nothing seen says nothing, and only hits bound nothing', () => {
  expect(proportionMax(0, 0, 0.95)).toBe(1)
  expect(proportionMax(7, 7, 0.95)).toBe(1)
  expect(() => proportionMax(8, 7, 0.95)).toThrow('hits are trials')
})

test('more hits, or fewer trials, or more confidence never lower the bound', () => {
  const counts = fc
    .integer({ min: 2, max: 500 })
    .chain((n) => fc.tuple(fc.integer({ min: 0, max: n - 2 }), fc.constant(n)))
  fc.assert(
    fc.property(counts, ([hits, trials]) => {
      const bound = proportionMax(hits, trials, 0.95)
      expect(bound).toBeGreaterThan(hits / trials)
      expect(proportionMax(hits + 1, trials, 0.95)).toBeGreaterThan(bound)
      expect(proportionMax(hits, trials + 1, 0.95)).toBeLessThan(bound)
      expect(proportionMax(hits, trials, 0.99)).toBeGreaterThan(bound)
    }),
  )
})
