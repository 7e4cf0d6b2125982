import { proportionMax, regularisedBeta, reputationLimits } from '#reputation'
import { verificationLimits } from './limits.ts'
import { type MarginThresholds, marginDefaults } from './margin.ts'

const {
  calibrationOperatorsMax,
  calibrationRunsMin,
  confidence,
  meanThresholdMax,
  meanThresholdMin,
  positionScoreMax,
} = verificationLimits
const { honestHitRate } = reputationLimits

/** An answer that is known to be honest, as a verifier of the other kernel class scores it. */
export interface HonestRun {
  /** Who vouches: the pool's reference engine computed it, or two operators agree on it. A run that nobody vouches for is passed over. */
  readonly vouchedBy: 'reference' | 'two_operators' | 'nobody'
  readonly mean: number
  readonly max: number
}

export type Calibration =
  | {
      readonly comparable: true
      readonly thresholds: MarginThresholds
      readonly runs: number
      /** Share of honest runs that these thresholds call hits, at most (95 % confidence, Clopper-Pearson). */
      readonly honestHitRateMax: number
    }
  /** Honest answers differ so much that a substitute would pass: another verifier is chosen. */
  | { readonly comparable: false; readonly why: 'mean_too_high' | 'position_too_high'; readonly runs: number }

/**
 * Thresholds for one pair of kernel classes with one model, from honest runs only.
 *
 * Mean: what at most 1 in 1,000 honest answers exceeds, with 95 % confidence and whatever their distribution is (Wilks 1941,
 * tolerance limits): the (k + 1)-th highest of n runs for the largest k that allows it, the highest of all up to n = 4,741.
 * Kept within [0.25, 0.5]; 0.25 until there are 3,000 runs. Position: twice the honest maximum, at least 2.
 */
export function calibrate(all: readonly HonestRun[]): Calibration {
  const honest = all.filter(({ vouchedBy }) => vouchedBy !== 'nobody')
  const runs = honest.length
  const bound = runs < calibrationRunsMin ? 0 : honestMeanBound(honest.map(({ mean }) => mean))
  if (bound > meanThresholdMax) return { comparable: false, why: 'mean_too_high', runs }
  const highest = honest.reduce((max, run) => Math.max(max, run.max), 0)
  if (2 * highest >= positionScoreMax) return { comparable: false, why: 'position_too_high', runs }
  const thresholds = {
    mean: Math.max(meanThresholdMin, bound),
    position: Math.max(marginDefaults.position, 2 * highest),
  }
  const hits = honest.filter(({ mean, max }) => mean > thresholds.mean || max > thresholds.position).length
  return { comparable: true, thresholds, runs, honestHitRateMax: proportionMax(hits, runs, confidence) }
}

/** An honest run, and whose verifier scored it. */
export interface ScoredRun extends HonestRun {
  readonly operator: string
}

/**
 * The same, so that no single operator moves a threshold by what its verifiers claim: the runs of each of those with most of them are left out in turn, and the strictest
 * thresholds that come out are taken. A pair is not compared only if two operators find it so, or the only one there is.
 */
export function calibrateTogether(runs: readonly ScoredRun[]): Calibration {
  const byOperator = Object.entries(Object.groupBy(runs, ({ operator }) => operator))
  const most = byOperator.toSorted(([, a = []], [, b = []]) => b.length - a.length).slice(0, calibrationOperatorsMax)
  if (most.length < 2) return calibrate(runs)
  const without = most.map(([left]) => calibrate(runs.filter(({ operator }) => operator !== left)))
  const comparable = without.filter((one) => one.comparable)
  const [first, ...more] = comparable
  if (!first) return calibrate(runs)
  return more.reduce((strictest, one) => (sumOf(one) < sumOf(strictest) ? one : strictest), first)
}

const sumOf = ({ thresholds: { mean, position } }: Extract<Calibration, { comparable: true }>) => mean + position

/**
 * The (k + 1)-th highest of n values lies above the 99.9 % quantile iff more than k of them do, which is a matter of a
 * binomial distribution only: P(more than k of n) = I(0.001; k + 1, n − k) (DLMF 8.17.5).
 */
function honestMeanBound(means: readonly number[]): number {
  const highestFirst = means.toSorted((a, b) => b - a)
  let k = 0
  while (regularisedBeta(honestHitRate, k + 2, means.length - k - 1) >= confidence) k++
  return highestFirst[k] ?? 0
}
