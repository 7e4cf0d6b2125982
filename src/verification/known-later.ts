import type { CheckOutcome } from '#reputation'
import { verificationLimits } from './limits.ts'
import type { KeptAnswer } from './transcript.ts'

const { knownWaitChecksMax, knownWaitMsMax } = verificationLimits

/**
 * When an answer is sent of which the pool knows what a verifier must say. Sent right behind a real one it would be known by that
 * alone. So it goes at random within the time in which some dozens of checks begin: where those come at random (a Poisson process),
 * so do the known answers among them, and neither the time before one nor the time after it says what it is.
 */
export class KnownPace {
  /** 0 … 1, exclusive of 1. */
  readonly #random: () => number
  /** When the last checks began, whoever made them. */
  readonly #begunAt: number[] = []

  constructor(random: () => number) {
    this.#random = random
  }

  begun(nowMs: number): void {
    this.#begunAt.push(nowMs)
    if (this.#begunAt.length > knownWaitChecksMax) this.#begunAt.shift()
  }

  /** Milliseconds until the next known answer that was drawn is sent. */
  delayMs(): number {
    const [first, last] = [this.#begunAt[0], this.#begunAt.at(-1)]
    const gaps = this.#begunAt.length - 1
    const meanMs = gaps < 1 ? knownWaitMsMax : ((last ?? 0) - (first ?? 0)) / gaps
    return this.#random() * Math.min(knownWaitMsMax, knownWaitChecksMax * meanMs)
  }
}

/**
 * An answer nobody gave, of the same length: each token is one the model knows, in an order it would never have taken. Undefined where
 * the other order is the same.
 */
export function knownBadOf(good: KeptAnswer): KeptAnswer | undefined {
  const tokens = good.tokens.toReversed()
  const isSame = tokens.every(({ id, piece }, n) => good.tokens[n]?.id === id && good.tokens[n].piece.equals(piece))
  return tokens.length < 4 || isSame ? undefined : { ...good, tokens }
}

/** What was said about an answer of which the pool knows what to say. */
interface SaidOfKnown {
  readonly known: 'known_good' | 'known_bad'
  readonly says: CheckOutcome
  /** What somebody of another operator says of the same places; undefined: nobody was asked. */
  readonly other?: CheckOutcome | undefined
  /** It has a model file: every token can be looked at. */
  readonly isFile: boolean
}

/**
 * What a verifier's word about a known answer is worth. With a model file it is right or wrong. Of an upstream 16 places are seen, and by
 * chance an honest draw may look unlikely there, or words in another order likely: there a word is wrong only if somebody else finds the
 * opposite at the same places, and `open`, against nobody, if both say the same.
 */
export function judgeKnown({ known, says, other, isFile }: SaidOfKnown): 'right' | 'wrong' | 'ask' | 'open' {
  const truth = known === 'known_bad' ? 'hit' : 'clean'
  if (says === truth) return 'right'
  if (isFile) return 'wrong'
  if (other === undefined) return 'ask'
  return other === truth ? 'wrong' : 'open'
}
