import type { Runtime, Timer } from '#runtime'

/**
 * Lets the tokens of many runs leave together. When the last flush is long ago the next is at the end of this turn of
 * the event loop; under load it waits until `everyMs` after the last. One timer for all runs.
 */
export class Flusher {
  readonly #runtime: Runtime
  readonly #everyMs: number
  #dirty = new Set<{ flush(): void }>()
  #flushedAt = Number.NEGATIVE_INFINITY
  #timer: Timer | NodeJS.Immediate | undefined

  constructor(runtime: Runtime, everyMs: number) {
    this.#runtime = runtime
    this.#everyMs = everyMs
  }

  mark(one: { flush(): void }): void {
    this.#dirty.add(one)
    if (this.#timer !== undefined) return
    const wait = this.#flushedAt + this.#everyMs - this.#runtime.monotonic()
    this.#timer = wait <= 0 ? setImmediate(() => this.#flush()) : this.#runtime.after(wait, () => this.#flush())
  }

  #flush(): void {
    this.#timer = undefined
    this.#flushedAt = this.#runtime.monotonic()
    const dirty = this.#dirty
    // a new one: see Slots
    this.#dirty = new Set()
    for (const one of dirty) one.flush()
  }
}
