import type { Runtime } from '#runtime'
import { engineLimits } from '../limits.ts'

/**
 * Native steps under way, and whether they still end. A step is one batch of a prompt, or one token. Whatever ends
 * counts as progress of all: the batches of parallel requests are computed in turns.
 */
export class EvaluationWatch {
  readonly #runtime: Runtime
  readonly #tokens = new Map<symbol, number>()
  #movedAt = 0
  #movedOnce = false

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** Does a step over so many tokens. */
  async step<T>(tokens: number, work: () => Promise<T>): Promise<T> {
    const step = Symbol('step')
    if (this.#tokens.size === 0) this.#movedAt = this.#runtime.monotonic()
    this.#tokens.set(step, tokens)
    try {
      return await work()
    } finally {
      this.#tokens.delete(step)
      this.#movedAt = this.#runtime.monotonic()
      this.#movedOnce = true
    }
  }

  /** How long nothing has ended, milliseconds, when that is more than the steps under way can explain. */
  overdueMs(): number | undefined {
    if (this.#tokens.size === 0) return undefined
    const silentMs = this.#runtime.monotonic() - this.#movedAt
    return silentMs > this.#allowedMs() ? silentMs : undefined
  }

  #allowedMs(): number {
    const { stepMsMax, stepMsPerToken, longStepMsMax } = engineLimits
    if (!this.#movedOnce) return longStepMsMax
    const tokens = [...this.#tokens.values()].reduce((sum, one) => sum + one, 0)
    return Math.min(longStepMsMax, stepMsMax + tokens * stepMsPerToken)
  }
}

/** The same steps, each of them watched: the first computes `tokens`, every other one more. */
export async function* watched<T>(
  watch: EvaluationWatch,
  tokens: number,
  steps: AsyncGenerator<T, void, void>,
): AsyncGenerator<T, void, void> {
  try {
    let step = await watch.step(tokens, () => steps.next())
    while (!step.done) {
      yield step.value
      step = await watch.step(1, () => steps.next())
    }
  } finally {
    await steps.return()
  }
}
