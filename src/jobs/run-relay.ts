import type { TokenBatch, WorkerId } from '#protocol'
import type { RunEnd, RunOutput, RunSink } from '#workers'
import type { Attempt } from './attempt.ts'
import type { Choice } from './choice.ts'

/** What a run can tell about one attempt. */
export interface AttemptListener {
  tokens(choice: Choice, attempt: Attempt, tokens: TokenBatch): void
  delta(choice: Choice, attempt: Attempt, delta: Record<string, unknown>): void
  vector(choice: Choice, attempt: Attempt, index: number, values: Float32Array): void
  end(choice: Choice, attempt: Attempt, end: Parameters<RunSink['end']>[0]): void
  failed(choice: Choice, attempt: Attempt, failed: Parameters<RunSink['failed']>[0]): void
  lost(choice: Choice, attempt: Attempt, reason: string): void
  /** A cancelled attempt's last word; undefined: there is none. */
  acknowledged(choice: Choice, attempt: Attempt, end: RunEnd | undefined): void
  /** A listener above threw. */
  broke(choice: Choice, error: unknown): void
}

/** The sink of one attempt: hears only what its attempt says while it runs, and keeps our mistakes from the session. */
export class RunRelay implements RunSink {
  readonly #choice: Choice
  readonly #attempt: Attempt
  readonly #listener: AttemptListener

  constructor(choice: Choice, attempt: Attempt, listener: AttemptListener) {
    this.#choice = choice
    this.#attempt = attempt
    this.#listener = listener
  }

  sent(): void {
    this.#choice.job.exposure.add(this.#attempt.workerId as WorkerId)
  }

  tokens(tokens: TokenBatch): void {
    if (!this.#attempt.running) return
    try {
      this.#listener.tokens(this.#choice, this.#attempt, tokens)
    } catch (error) {
      this.#listener.broke(this.#choice, error)
    }
  }

  delta(delta: Record<string, unknown>): void {
    this.#guard(() => this.#listener.delta(this.#choice, this.#attempt, delta))
  }

  vector(index: number, values: Float32Array): void {
    this.#guard(() => this.#listener.vector(this.#choice, this.#attempt, index, values))
  }

  end(end: Parameters<RunSink['end']>[0]): void {
    this.#guard(() => this.#listener.end(this.#choice, this.#attempt, end))
  }

  failed(failed: Parameters<RunSink['failed']>[0]): void {
    this.#guard(() => this.#listener.failed(this.#choice, this.#attempt, failed))
  }

  lost(reason: string): void {
    this.#guard(() => this.#listener.lost(this.#choice, this.#attempt, reason))
  }

  late(output: RunOutput): void {
    if (this.#attempt.awaited) this.#protect(() => this.#attempt.note(output))
  }

  acknowledged(end: RunEnd | undefined): void {
    if (this.#attempt.awaited) this.#protect(() => this.#listener.acknowledged(this.#choice, this.#attempt, end))
  }

  #guard(tell: () => void): void {
    if (this.#attempt.running) this.#protect(tell)
  }

  #protect(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.#listener.broke(this.#choice, error)
    }
  }
}
