import { workersLimits } from './limits.ts'

/**
 * Tokens per second of one worker, measured by the pool: what it relayed over the time in which the worker had work,
 * as an exponentially weighted average over the last {@link workersLimits.meterSeconds} seconds of work.
 */
export class TokenMeter {
  #tokens = 0
  #seconds = 0
  #newTokens = 0
  #busyMs = 0
  #busySince: number | undefined

  /** The worker got its first run, or lost its last one. */
  busy(isBusy: boolean, nowMs: number): void {
    if (isBusy === (this.#busySince !== undefined)) return
    if (this.#busySince !== undefined) this.#busyMs += nowMs - this.#busySince
    this.#busySince = isBusy ? nowMs : undefined
  }

  count(tokens: number): void {
    this.#newTokens += tokens
  }

  /** Folds what happened since the last call into the average. */
  fold(nowMs: number): void {
    if (this.#busySince !== undefined) {
      this.#busyMs += nowMs - this.#busySince
      this.#busySince = nowMs
    }
    if (this.#busyMs === 0) return
    const seconds = this.#busyMs / 1_000
    const kept = Math.exp(-seconds / workersLimits.meterSeconds)
    this.#tokens = this.#tokens * kept + this.#newTokens
    this.#seconds = this.#seconds * kept + seconds
    this.#newTokens = 0
    this.#busyMs = 0
  }

  /** 0 until something was measured. */
  get tokensPerSecond(): number {
    return this.#seconds === 0 ? 0 : this.#tokens / this.#seconds
  }
}
