/** So many a second, and so many at once. */
export class TokenBucket {
  readonly #perMs: number
  readonly #burst: number
  #left: number
  #at: number

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1_000
    this.#burst = burst
    this.#left = burst
    this.#at = nowMs
  }

  /** Takes `n`; false once more was taken than came in. */
  take(n: number, nowMs: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + (nowMs - this.#at) * this.#perMs) - n
    this.#at = nowMs
    return this.#left >= 0
  }
}
