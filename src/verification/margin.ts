import assert from 'node:assert'
import { verificationLimits } from './limits.ts'

const { meanThresholdMin, positionScoreMax, positionThresholdMin } = verificationLimits

/** One token of an answer, seen by a verifier that was fed everything before it (teacher forcing). */
export interface Position {
  /** Logit of the token that the worker gave; −Infinity where the model cannot give it at all. */
  readonly chosenLogit: number
  /** Logit of the token that the verifier's model would give, with its noise. */
  readonly bestLogit: number
  /** What the sampler adds to both, in logits: temperature × Gumbel noise. 0 at temperature 0. */
  readonly noiseChosen?: number
  readonly noiseBest?: number
}

/** How an answer ended: by the model's own end token, seen like a position; for a reason that the pool saw; or for none. */
export type Ending =
  | (Position & { readonly kind: 'end_token' })
  | { readonly kind: 'stop_string' | 'max_tokens' | 'cancelled' | 'unexplained' }

export interface MarginThresholds {
  /** An answer is a hit when the mean score of its positions is above it. */
  readonly mean: number
  /** An answer is a hit when one position, or its end token, is above it. */
  readonly position: number
}

/** What an answer is judged by until its pair of kernel classes is calibrated. */
export const marginDefaults: MarginThresholds = { mean: meanThresholdMin, position: positionThresholdMin }

export interface MarginVerdict {
  readonly hit: boolean
  /** The first part of the rule that says so. */
  readonly why: 'mean' | 'position' | 'ending' | null
  /** Mean and highest score of the positions; 0 where there are none. */
  readonly mean: number
  readonly max: number
}

/**
 * How far the worker's token falls short of the best one: min(3, max(0, best − chosen)), noise added to both. For a sampler
 * that draws by argmax(logit/T + Gumbel noise) (Gumbel-max: Gumbel 1954, Maddison et al. 2014) the honest choice *is* the
 * best one, so at any temperature an honest score is numeric noise. Capped, so that no single position decides a mean.
 */
export function scoreOf({ chosenLogit, bestLogit, noiseChosen = 0, noiseBest = 0 }: Position): number {
  const best = bestLogit + noiseBest
  const chosen = chosenLogit + noiseChosen
  assert(Number.isFinite(best) && chosen < Number.POSITIVE_INFINITY, 'a verifier reports numbers')
  return Math.min(positionScoreMax, Math.max(0, best - chosen))
}

/**
 * Judges one answer: another model shows in the mean, an edited token in its position, an answer cut short in its ending.
 * Sixteen positions cannot hide an edit in the mean: 3/16 = 0.19 stays below the lowest threshold of it.
 */
export function judgeMargin({
  positions,
  ending,
  thresholds = marginDefaults,
}: {
  readonly positions: readonly Position[]
  readonly ending: Ending
  readonly thresholds?: MarginThresholds
}): MarginVerdict {
  const scores = positions.map(scoreOf)
  const mean = scores.length === 0 ? 0 : scores.reduce((sum, score) => sum + score, 0) / scores.length
  const max = scores.reduce((highest, score) => Math.max(highest, score), 0)
  const cutShort = ending.kind === 'end_token' ? scoreOf(ending) > thresholds.position : ending.kind === 'unexplained'
  const why = mean > thresholds.mean ? 'mean' : max > thresholds.position ? 'position' : cutShort ? 'ending' : null
  return { hit: why !== null, why, mean, max }
}
