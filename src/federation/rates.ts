/** So many per minute for each of many names, and so many at once. A refused one costs nothing, so a flood cannot lock its name out. */
export class Rates {
  readonly #perMinute: number
  readonly #namesMax: number
  readonly #left = new Map<string, { left: number; at: number }>()

  /** Of more names than `namesMax` the one that was first heard of is forgotten. */
  constructor(perMinute: number, namesMax: number) {
    this.#perMinute = perMinute
    this.#namesMax = namesMax
  }

  /** Whether `name` has one left, milliseconds of a clock that only grows. */
  has(name: string, now: number): boolean {
    return this.#leftOf(name, now) >= 1
  }

  /** Takes `count`; what is not there is owed, of one minute at most. False, and nothing taken, when not even one is left. */
  take(name: string, now: number, count = 1): boolean {
    const left = this.#leftOf(name, now)
    if (left < 1) return false
    if (!this.#left.has(name) && this.#left.size >= this.#namesMax) this.#forgetOne()
    this.#left.set(name, { left: Math.max(-this.#perMinute, left - count), at: now })
    return true
  }

  #leftOf(name: string, now: number): number {
    const known = this.#left.get(name)
    if (!known) return this.#perMinute
    return Math.min(this.#perMinute, known.left + ((now - known.at) * this.#perMinute) / 60_000)
  }

  #forgetOne(): void {
    const [first] = this.#left.keys()
    if (first !== undefined) this.#left.delete(first)
  }
}
