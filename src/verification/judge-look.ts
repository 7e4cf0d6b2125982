import type { CheckOutcome } from '#reputation'
import { judgePrefixes, type SeenPrefix } from './judge-prefixes.ts'
import { type Ending, judgeMargin, type MarginThresholds, marginDefaults, type Position } from './margin.ts'
import type { KeptAnswer } from './transcript.ts'

/** One position as a verifier reports it: by how many logits the committed token missed being the one that is taken. */
interface SeenPosition extends SeenPrefix {
  readonly position: number
}

/** What is read of a verifier's evidence. */
export interface SeenEvidence {
  readonly promptTokens: number
  /** Tokens until the answer ended by itself. */
  readonly completionTokens: number
  readonly wrongPieces: readonly number[]
  readonly unknownAt: number | undefined
  readonly positions: readonly SeenPosition[]
  readonly ending: {
    readonly shown: 'stop_string' | 'length' | 'nothing'
    readonly end: SeenPosition | undefined
  }
}

/** What one look says. */
export interface Look {
  readonly says: CheckOutcome
  /** The first part of the rule that says so. */
  readonly why: 'piece' | 'unknown_token' | 'behind_the_end' | 'count' | 'mean' | 'position' | 'ending' | null
  /** Mean score of the positions, logits. */
  readonly score: number
  /** Highest score of them, logits. */
  readonly max: number
}

/**
 * Judges what a verifier saw of an answer. Pieces, ids, ends and counts are the same on every machine; what may differ
 * a little are logits, and those are judged by {@link judgeMargin}.
 */
export function judgeLook(
  evidence: SeenEvidence,
  answer: Pick<KeptAnswer, 'tokens' | 'finish' | 'promptClaim' | 'digest' | 'body'>,
  thresholds: MarginThresholds = marginDefaults,
): Look {
  // An upstream shows no ids, and counts as it likes: only how likely its text is can be judged.
  if (answer.digest === null) return judgePrefixes(evidence, answer)
  const positions = evidence.positions.map(({ margin }) => missed(margin))
  const verdict = judgeMargin({ positions, ending: endingOf(evidence, answer.finish), thresholds })
  const why = plainFault(evidence, answer) ?? verdict.why
  return { says: why === null ? 'clean' : 'hit', why, score: verdict.mean, max: verdict.max }
}

function plainFault(
  { wrongPieces, unknownAt, completionTokens, promptTokens }: SeenEvidence,
  { tokens, finish, promptClaim }: Pick<KeptAnswer, 'tokens' | 'finish' | 'promptClaim'>,
): Look['why'] {
  if (wrongPieces.length > 0) return 'piece'
  if (unknownAt !== undefined) return 'unknown_token'
  // A cancelled answer may hold what was on its way.
  if (finish !== 'cancelled' && completionTokens < tokens.length) return 'behind_the_end'
  return promptClaim !== null && promptClaim > promptTokens ? 'count' : null
}

function endingOf({ ending, positions, completionTokens }: SeenEvidence, finish: string): Ending {
  if (finish === 'cancelled') return { kind: 'cancelled' }
  if (ending.shown === 'stop_string') return { kind: 'stop_string' }
  if (ending.shown === 'length') return { kind: 'max_tokens' }
  if (ending.end) return { kind: 'end_token', ...missed(ending.end.margin) }
  // An answer of which nothing was looked at explains nothing and hides nothing.
  return positions.length === 0 && completionTokens === 0 ? { kind: 'cancelled' } : { kind: 'unexplained' }
}

/** In units of {@link Position}: the noise is in the margin already. */
const missed = (margin: number): Position => ({ bestLogit: 0, chosenLogit: -margin })
