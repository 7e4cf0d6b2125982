import type { Refusal, RefusalCode, WorkerId } from '#protocol'
import type { Runtime } from '#runtime'
import { workersLimits } from './limits.ts'
import type { Admission } from './worker-session.ts'

const forbidding: ReadonlySet<RefusalCode> = new Set(['worker_revoked', 'worker_expired', 'worker_blocked'])

/**
 * What operators decided in the last seconds. A worker may be between its admission (read from the database) and its
 * session just then; without this it would keep the older standing.
 */
export class RecentStandings {
  readonly #runtime: Runtime
  readonly #byWorker = new Map<WorkerId, { at: number; standing: Admission | Refusal }>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  admitted(id: WorkerId, admission: Admission): void {
    this.#remember(id, admission)
  }

  /** Only what forbids the key is remembered; any other refusal ends one session. */
  refused(id: WorkerId, refusal: Refusal): void {
    if (forbidding.has(refusal.code)) this.#remember(id, refusal)
  }

  latest(id: WorkerId, admitted: Admission): Admission | Refusal {
    return this.#byWorker.get(id)?.standing ?? admitted
  }

  sweep(): void {
    const oldest = this.#runtime.monotonic() - workersLimits.standingMemoryMs
    for (const [id, { at }] of this.#byWorker) {
      if (at > oldest) return
      this.#byWorker.delete(id)
    }
  }

  #remember(id: WorkerId, standing: Admission | Refusal): void {
    this.#byWorker.delete(id)
    this.#byWorker.set(id, { at: this.#runtime.monotonic(), standing })
  }
}
