import type { LlamaContextSequence, Token as TokenId } from 'node-llama-cpp'
import type { EvaluationWatch } from './evaluation-watch.ts'

interface Slot {
  readonly sequence: LlamaContextSequence
  busy: boolean
  /** Counts up with each use, to find the one unused longest. */
  usedAt: number
}

/** One sequence of a context, for one request. Disposing gives it back with what it has computed. */
export interface SequenceLease extends Disposable {
  readonly sequence: LlamaContextSequence
  /** Tokens at the beginning that need not be computed again. */
  readonly reused: number
}

/**
 * The parallel sequences of one context. A finished sequence keeps its computed state, so that the next turn of the
 * same conversation starts behind what both have in common.
 */
export class SequencePool {
  readonly #slots: readonly Slot[]
  readonly #waiting: (() => void)[] = []
  readonly #watch: EvaluationWatch
  #uses = 0

  constructor(sequences: readonly LlamaContextSequence[], watch: EvaluationWatch) {
    this.#watch = watch
    this.#slots = sequences.map((sequence) => ({ sequence, busy: false, usedAt: 0 }))
  }

  /** Waits for a free sequence. Its state then is the longest usable beginning of `tokens`, never all of them. */
  async take(tokens: readonly number[], signal: AbortSignal): Promise<SequenceLease> {
    while (this.#slots.every(({ busy }) => busy)) await this.#freed(signal)
    if (signal.aborted) {
      this.#waiting.shift()?.() // what it was woken for is the next one's
      throw signal.reason
    }
    const wanted = tokens.slice(0, -1) as TokenId[] // the last one must be computed: its logits are the next token's
    const slot = this.#choose(wanted)
    slot.busy = true
    slot.usedAt = ++this.#uses
    try {
      // Most models only forget what is not wanted; one without random access computes up to all of it again.
      await this.#watch.step(wanted.length, () => slot.sequence.adaptStateToTokens(wanted, false))
    } catch (error) {
      this.#giveBack(slot)
      throw error
    }
    return {
      sequence: slot.sequence,
      reused: slot.sequence.nextTokenIndex,
      [Symbol.dispose]: () => this.#giveBack(slot),
    }
  }

  /** The free sequence with most in common, unless using it would discard more than it saves; else the oldest. */
  #choose(wanted: TokenId[]): Slot {
    const free = this.#slots.filter(({ busy }) => !busy).sort((a, b) => a.usedAt - b.usedAt)
    const common = free.map(({ sequence }) => sequence.compareContextTokens(wanted).firstDifferentIndex)
    const best = common.indexOf(Math.max(...common))
    const worthIt = 2 * (common[best] ?? 0) > (free[best]?.sequence.nextTokenIndex ?? 0)
    const chosen = free[worthIt ? best : 0]
    if (!chosen) throw new Error('no sequence is free')
    return chosen
  }

  #freed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1)
        reject(signal.reason)
      }
      const go = () => {
        signal.removeEventListener('abort', stop)
        resolve()
      }
      if (signal.aborted) return reject(signal.reason)
      this.#waiting.push(go)
      signal.addEventListener('abort', stop, { once: true })
    })
  }

  #giveBack(slot: Slot): void {
    slot.busy = false
    this.#waiting.shift()?.()
  }
}
