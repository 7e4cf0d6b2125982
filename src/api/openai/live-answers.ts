import { type Runtime, Slots, type Timer } from '#runtime'

/** An answer that somebody is still reading. */
export interface LiveAnswer {
  /** Called about once a second. `now` is monotonic milliseconds. */
  tick(now: number): void
  /** Writes what this turn of the event loop collected. */
  flush(): void
}

const tickMs = 1_000

/**
 * Every open answer of this process: one shared timer for keep-alives and stalled readers, and one flush at the end of
 * an event-loop turn for all answers that have something new. No timer and no write per token.
 */
export class LiveAnswers implements Disposable {
  readonly #answers = new Slots<LiveAnswer>()
  readonly #timer: Timer
  #dirty: LiveAnswer[] = []

  constructor(runtime: Runtime) {
    this.#timer = runtime.every(tickMs, () => {
      const now = runtime.monotonic()
      for (const answer of this.#answers) answer.tick(now)
    })
  }

  get size(): number {
    return this.#answers.size
  }

  /** The seat to give back to {@link remove}. */
  add(answer: LiveAnswer): number {
    return this.#answers.add(answer)
  }

  remove(seat: number): void {
    this.#answers.remove(seat)
  }

  /** Asks for one `flush` of this answer after the I/O of this turn. Ask once per turn only. */
  flushSoon(answer: LiveAnswer): void {
    if (this.#dirty.push(answer) === 1) setImmediate(this.#flushAll)
  }

  readonly #flushAll = () => {
    const dirty = this.#dirty
    this.#dirty = []
    for (const answer of dirty) answer.flush()
  };

  [Symbol.dispose](): void {
    this.#timer.cancel()
  }
}
