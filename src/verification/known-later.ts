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

/** An answer nobody gave, of the same length: each token is one the model knows, in an order it would never have taken. */
export function knownBadOf(good: KeptAnswer): KeptAnswer | undefined {
  return good.tokens.length < 4 ? undefined : { ...good, tokens: good.tokens.toReversed() }
}
