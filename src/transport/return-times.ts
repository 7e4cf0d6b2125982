import { transportLimits } from './limits.ts'

/** Called back a little sooner than room is expected: some do not come, and an empty door helps nobody. */
const eagerness = 1.5
const windowMs = 1_000

/**
 * When strangers that found no room should come back: one after the other, as fast as the door has lately let workers in. Were all told
 * the same moment, ten thousand workers of a restarted pool would be turned away many times each. More than fit before the longest wait
 * begin again at the shortest. Pure: time comes in as an argument.
 */
export class ReturnTimes {
  #perSecond: number = transportLimits.letInPerSecondMin
  #windowAt: number
  #inWindow = 0
  #promisedMs: number

  constructor(nowMs: number) {
    this.#windowAt = nowMs
    this.#promisedMs = nowMs
  }

  /** A worker was let in. */
  letIn(nowMs: number): void {
    this.#roll(nowMs)
    this.#inWindow += 1
  }

  /** Milliseconds until the next stranger that is turned away should return. */
  next(nowMs: number): number {
    this.#roll(nowMs)
    const { retryAfterMs, retryAfterMsMax } = transportLimits
    const soonest = nowMs + retryAfterMs
    const wanted = Math.max(this.#promisedMs + 1_000 / (this.#perSecond * eagerness), soonest)
    this.#promisedMs = wanted > nowMs + retryAfterMsMax ? soonest : wanted
    return this.#promisedMs - nowMs
  }

  #roll(nowMs: number): void {
    const elapsed = nowMs - this.#windowAt
    if (elapsed < windowMs) return
    this.#perSecond = Math.max(transportLimits.letInPerSecondMin, (this.#inWindow * 1_000) / elapsed)
    this.#windowAt = nowMs
    this.#inWindow = 0
  }
}
