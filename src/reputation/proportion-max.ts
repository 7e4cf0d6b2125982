import assert from 'node:assert'
import { betaQuantile } from './incomplete-beta.ts'

/**
 * One-sided upper bound of a proportion after `hits` of `trials` (C. J. Clopper and E. S. Pearson, "The use of confidence
 * or fiducial limits", Biometrika 26, 1934): the true share is above it with a chance of at most 1 − `confidence`. Nothing
 * in 200 is not zero but at most 1.5 %. `confidence` 0 … 1 exclusive; without trials the bound is 1.
 */
export function proportionMax(hits: number, trials: number, confidence: number): number {
  assert(Number.isSafeInteger(hits) && Number.isSafeInteger(trials) && hits >= 0 && hits <= trials, 'hits are trials')
  assert(confidence > 0 && confidence < 1, 'no bound is certain')
  return hits === trials ? 1 : betaQuantile(confidence, hits + 1, trials - hits)
}
