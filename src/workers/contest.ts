import { messageType, type Refusal } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import type { SecureSession } from '#transport'
import { closeCodeOf } from './close-code.ts'
import { encodeRefused } from './encode-message.ts'
import { workersLimits } from './limits.ts'
import type { Admission } from './worker-session.ts'

/** What follows from a contest. `dropped` comes first, whatever the outcome; at most one other is called. */
export interface ContestOutcome {
  dropped(): void
  firstAnswered(): void
  /** Ends the first session; `firstEnded` follows. */
  firstSilent(): void
  firstEnded(): void
}

/** A second session of a key, waiting while the first is asked whether it lives. What it says meanwhile is not read. */
export class Contest {
  admission: Admission
  readonly #second: SecureSession
  readonly #outcome: ContestOutcome
  readonly #runtime: Runtime
  #timer: Timer
  #repeats = 0
  #over = false

  constructor(second: SecureSession, admission: Admission, runtime: Runtime, outcome: ContestOutcome) {
    this.admission = admission
    this.#second = second
    this.#outcome = outcome
    this.#runtime = runtime
    this.#timer = this.#wait()
    second.onClose = () => this.#end()
  }

  /** A pool that was itself asleep has not read the answer yet, and waits once more. */
  #wait(): Timer {
    const dueAt = this.#runtime.monotonic() + workersLimits.contestMsMax
    return this.#runtime.after(workersLimits.contestMsMax, () => {
      if (this.#over) return
      const asleep = this.#runtime.monotonic() - dueAt > 2 * workersLimits.sweepMs
      if (asleep && this.#repeats++ < workersLimits.contestRepeatsMax) this.#timer = this.#wait()
      else this.#outcome.firstSilent()
    })
  }

  /** Tells a session why it cannot be, and closes it. */
  static refuse(session: SecureSession, refusal: Refusal): void {
    session.onClose = undefined
    session.send(messageType.refused, encodeRefused(refusal))
    session.close(closeCodeOf(refusal.code), refusal.code)
  }

  admit(admission: Admission): void {
    this.admission = admission
  }

  refuse(refusal: Refusal): void {
    if (this.#end()) Contest.refuse(this.#second, refusal)
  }

  answered(): void {
    if (this.#end()) this.#outcome.firstAnswered()
  }

  /** The first session ended, by itself or because it was silent: the second takes its place. */
  firstGone(): void {
    if (this.#end()) this.#outcome.firstEnded()
  }

  /** True the first time. */
  #end(): boolean {
    if (this.#over) return false
    this.#over = true
    this.#timer.cancel()
    this.#outcome.dropped()
    return true
  }
}
