import type { LlamaContextSequence, LlamaModel } from 'node-llama-cpp'
import { engineLimits } from '../limits.ts'
import type { EvaluationWatch } from './evaluation-watch.ts'

/** A sequence that shares its context with nobody. Disposing frees the context. */
export interface IsolatedLease extends AsyncDisposable {
  readonly sequence: LlamaContextSequence
}

/**
 * Contexts for answers that must be the same to the last bit wherever their kernel class computes them: new for each,
 * with one sequence and a fixed micro-batch. One at a time, so that memory holds one more than the parallel slots.
 */
export class IsolatedContexts {
  readonly #model: LlamaModel
  readonly #threads: number
  readonly #watch: EvaluationWatch
  #last: Promise<void> = Promise.resolve()

  constructor(model: LlamaModel, threads: number, watch: EvaluationWatch) {
    this.#model = model
    this.#threads = threads
    this.#watch = watch
  }

  /** Waits for its turn. The context has room for so many tokens, prompt and answer. */
  async open(contextTokens: number, signal: AbortSignal): Promise<IsolatedLease> {
    const done = await this.#turn(signal)
    try {
      const context = await this.#watch.step(1, () =>
        this.#model.createContext({
          sequences: 1,
          contextSize: contextTokens,
          batchSize: engineLimits.prefillTokensMax,
          threads: this.#threads,
          flashAttention: false, // its sums over a long prompt depend on the number of threads
          failedCreationRemedy: false,
        }),
      )
      const free = () => this.#watch.step(1, () => context.dispose())
      return { sequence: context.getSequence(), [Symbol.asyncDispose]: () => free().finally(done) }
    } catch (error) {
      done()
      throw error
    }
  }

  /** Resolves with what ends the turn. Whoever gives up waiting leaves its turn to the next. */
  async #turn(signal: AbortSignal): Promise<() => void> {
    const before = this.#last
    const own = Promise.withResolvers<void>()
    this.#last = own.promise
    const aborted = Promise.withResolvers<never>()
    const stop = () => aborted.reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    try {
      signal.throwIfAborted()
      await Promise.race([before, aborted.promise])
      return own.resolve
    } catch (error) {
      void before.then(own.resolve)
      throw error
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}
