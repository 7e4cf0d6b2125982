import type { Runtime } from '#runtime'
import { agentLimits } from './limits.ts'

/**
 * Waits between dials: 0.2 s doubled up to 30 s, each drawn between half and all of it, so that ten thousand workers of
 * a restarted pool do not knock in step. A pool that is there and says when to return (`Retry-After`) is asked again
 * after that time at the earliest and 8 s at the latest: it has room for some in every second.
 */
export class Backoff {
  readonly #runtime: Runtime
  #attempt = 0

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** The connection worked: the next wait is the shortest again. */
  reset(): void {
    this.#attempt = 0
  }

  /** Milliseconds to wait now. */
  next(retryAfterMs?: number): number {
    const { backoffMsMin, backoffMsMax, crowdedMsMax } = agentLimits
    const longest = retryAfterMs === undefined ? backoffMsMax : crowdedMsMax
    const whole = Math.min(longest, backoffMsMin * 2 ** this.#attempt)
    this.#attempt = Math.min(this.#attempt + 1, 30)
    const die = this.#runtime.randomBytes(4).readUInt32BE(0) / 2 ** 32
    return Math.min(retryAfterMs ?? 0, backoffMsMax) + Math.round(whole * (0.5 + die / 2))
  }
}
