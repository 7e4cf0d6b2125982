import assert from 'node:assert'

/** Coefficients of Lanczos' approximation with g = 7 and nine terms (Lanczos 1964; these values: P. Godfrey 2001). */
const lanczos = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
] as const

/** Natural logarithm of the gamma function, `x` ≥ 0.5, to about 15 digits. */
export function logGamma(x: number): number {
  const z = x - 1
  const sum = lanczos.reduce((total, coefficient, i) => total + (i === 0 ? coefficient : coefficient / (z + i)), 0)
  const t = z + 7.5
  return 0.5 * Math.log(2 * Math.PI) + (z + 0.5) * Math.log(t) - t + Math.log(sum)
}

/** More terms than a continued fraction needs for parameters up to 10⁷: it takes some √max(a, b). */
const fractionTermsMax = 20_000

/** The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method (Lentz 1976; Thompson and Barnett 1986). */
function betaFraction(x: number, a: number, b: number): number {
  const tiny = 1e-300
  const awayFromZero = (value: number) => (Math.abs(value) < tiny ? tiny : value)
  let c = 1
  let d = 1 / awayFromZero(1 - ((a + b) * x) / (a + 1))
  let value = d
  for (let m = 1; m <= fractionTermsMax; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))
    let change = 1
    for (const term of [even, odd]) {
      d = 1 / awayFromZero(1 + term * d)
      c = awayFromZero(1 + term / c)
      change = c * d
      value *= change
    }
    if (Math.abs(change - 1) < 1e-15) return value
  }
  throw new Error(`the incomplete beta function of ${a}, ${b} at ${x} did not converge`)
}

/**
 * The regularised incomplete beta function Iₓ(a, b): the probability that a Beta(a, b) variate is at most `x` (DLMF 8.17).
 * `x` 0 … 1; `a`, `b` 0.5 … 10⁷. Relative error about 10⁻¹², for large parameters about 10⁻⁹.
 */
export function regularisedBeta(x: number, a: number, b: number): number {
  assert(x >= 0 && x <= 1 && a >= 0.5 && b >= 0.5, 'x is a probability, a and b are at least one half')
  if (x === 0 || x === 1) return x
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x))
  // The fraction converges quickly below the mean; above it the other tail is computed (DLMF 8.17.4).
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(x, a, b)) / a : 1 - (front * betaFraction(1 - x, b, a)) / b
}

/**
 * The quantile of Beta(a, b): the x with Iₓ(a, b) = `p`, 0 … 1. By halving: Iₓ grows with x, and after 60 halvings what
 * is left is narrower than a double near 1 can tell apart. `a`, `b` as for {@link regularisedBeta}.
 */
export function betaQuantile(p: number, a: number, b: number): number {
  assert(p >= 0 && p <= 1, 'p is a probability')
  if (p === 0 || p === 1) return p
  let [low, high] = [0, 1]
  for (let halving = 0; halving < 60; halving++) {
    const middle = (low + high) / 2
    if (regularisedBeta(middle, a, b) < p) low = middle
    else high = middle
  }
  return (low + high) / 2
}
