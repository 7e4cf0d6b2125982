import type { CheckOutcome } from '#reputation'
import { judgeMargin, type Position } from '../margin.ts'
import type { Dice } from './dice.ts'
import type { Adversary } from './zoo.ts'

/** An answer as verifiers find it. */
export interface Transcript {
  /** Who gave it; null for one the pool keeps. */
  readonly by: Adversary | null
  /** It is not what the model would have said. */
  readonly wrong: boolean
  /** It is good, but lies where machines differ, and the first look finds it bad. */
  readonly noisy: boolean
}

/**
 * Numbers of the noise that the design assumes of honest workers: 1 % of good answers are a hit at the first look. Each of
 * two more verifiers shares that opinion with the chance c for which 1 − (1 − c)² is 10 %, so 0.1 % are confirmed.
 */
export const noise = { first: 0.01, again: 1 - Math.sqrt(0.9) } as const

const positionsSeen = 16

/** What an honest verifier says of it, by the real judge of margins, on logits that such a transcript would give. */
export function lookAt({ by, wrong, noisy }: Transcript, again: boolean, dice: Dice): CheckOutcome {
  const differs = noisy && (!again || dice() < noise.again)
  const [low, high] = wrong ? [0.55, 1.9] : differs ? [0.26, 0.4] : [0, 0.2]
  const positions = Array.from({ length: positionsSeen }, (): Position => {
    const bestLogit = 8 + dice()
    return { bestLogit, chosenLogit: bestLogit - low - dice() * (high - low) }
  })
  const thresholds = by ? { thresholds: by.thresholds } : {}
  return judgeMargin({ positions, ending: { kind: 'max_tokens' }, ...thresholds }).hit ? 'hit' : 'clean'
}
