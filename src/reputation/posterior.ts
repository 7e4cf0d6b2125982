import assert from 'node:assert'
import type { CheckOutcome } from './charts.ts'
import { betaQuantile } from './incomplete-beta.ts'
import { reputationLimits } from './limits.ts'

const { forgetting, foreignChecksMax, weightQuantile } = reputationLimits

/** What checks say about a worker's share of good answers: Beta(1 + clean, 1 + hits). The counts fade, so they have fractions. */
export interface Posterior {
  readonly clean: number
  readonly hits: number
}

/** What another pool says of a worker. */
export interface ForeignWord extends Posterior {
  /** How far this pool trusts the other, 0 … 1. */
  readonly trust: number
}

/** Nobody has been checked: the uniform prior of Bayes and Laplace. */
export const unknownPosterior: Posterior = { clean: 0, hits: 0 }

/** One check later. Older ones fade by 0.995 each, so that 200 checks is all that is remembered (Jøsang and Ismail 2002). */
export function posteriorAfter({ clean, hits }: Posterior, outcome: CheckOutcome): Posterior {
  const [isClean, isHit] = outcome === 'clean' ? [1, 0] : [0, 1]
  return { clean: clean * forgetting + isClean, hits: hits * forgetting + isHit }
}

/** A foreign pool's word, in the proportion it gives, worth at most 10 checks of our own × trust. Never evidence. */
export function withForeignWord(own: Posterior, { clean, hits, trust }: ForeignWord): Posterior {
  assert(clean >= 0 && hits >= 0 && trust >= 0 && trust <= 1, 'counts are 0 or more, trust is a share')
  const told = clean + hits
  const worth = told === 0 ? 0 : Math.min(trust * foreignChecksMax, told) / told
  return { clean: own.clean + clean * worth, hits: own.hits + hits * worth }
}

/**
 * Routing weight, 0 … 1: the worker's share of good answers is above it with 95 % probability. A newcomer weighs 0.05, one
 * with a long clean record 0.985. For choosing whom to ask first; the charts alone accuse.
 */
export function routingWeight({ clean, hits }: Posterior): number {
  return betaQuantile(weightQuantile, 1 + clean, 1 + hits)
}
