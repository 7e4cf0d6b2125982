import type { WorkerId } from '#protocol'
import { workersLimits } from './limits.ts'

/** A breach of the protocol by a worker: when (milliseconds since 1970) and which rule, without quoting the worker. */
export interface Violation {
  readonly at: number
  readonly message: string
}

/** What workers did against the protocol, kept beyond their sessions; the longest unseen are forgotten first. */
export class Violations {
  readonly #byWorker = new Map<WorkerId, Violation[]>()

  record(id: WorkerId, violation: Violation): void {
    const earlier = this.#byWorker.get(id) ?? []
    this.#byWorker.delete(id)
    this.#byWorker.set(id, [...earlier.slice(1 - workersLimits.violationsPerWorkerMax), violation])
    if (this.#byWorker.size <= workersLimits.violatorsMax) return
    const [oldest] = this.#byWorker.keys()
    if (oldest) this.#byWorker.delete(oldest)
  }

  of(id: WorkerId): readonly Violation[] {
    return this.#byWorker.get(id) ?? []
  }
}
