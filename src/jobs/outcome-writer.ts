import { ledgerCodeName, ledgerCodes, ledgerStage } from '#ledger'
import { PoolError } from '#protocol'
import { SlotMap, Slots } from '#runtime'
import type { GroupCommit, Operation, Outcome } from '#storage'
import type { JobEvents } from './events.ts'
import type { Job } from './job.ts'
import { jobMoveStage, moveCodes } from './job-stages.ts'
import { jobsLimits } from './limits.ts'
import { type Books, progress, settlement } from './settlement.ts'

/**
 * Writes what nobody waits for: leases in batches, and outcomes. A job that ends before its lease was written is written
 * once. While the database is away outcomes wait here and are tried again until they are on disk.
 */
export class OutcomeWriter {
  readonly #commit: Pick<GroupCommit, 'submit'>
  readonly #events: JobEvents
  readonly #books: Books
  readonly #dirty = new SlotMap<string, Job>()
  readonly #inFlight = new Slots<Promise<void>>()
  #delayed: { jobId: string; operation: Operation }[] = []

  constructor(commit: Pick<GroupCommit, 'submit'>, books: Books, events: JobEvents) {
    this.#commit = commit
    this.#books = books
    this.#events = events
  }

  /** Outcomes not yet on disk. */
  get unsettled(): number {
    return this.#inFlight.size + this.#delayed.length
  }

  /** The job was leased or began to stream; written with the next {@link flush}. */
  moved(job: Job): void {
    this.#dirty.set(job.id, job)
  }

  /** The job is over. */
  ended(job: Job): void {
    this.#dirty.delete(job.id)
    this.#settle(job.id, settlement(job, this.#books))
  }

  /** Writes leases and tries delayed outcomes again. Called by the sweep. */
  flush(): void {
    let room: number = jobsLimits.leasesPerFlushMax
    for (const job of this.#dirty.values()) {
      if (room-- === 0) break
      this.#dirty.delete(job.id)
      // Its state is written with its price and receipt, or not at all.
      if (job.over) continue
      // A lost lease is harmless: the next move or the outcome carries the same rows.
      this.#commit.submit(progress(job), jobsLimits.settlePatienceMs).catch(() => {})
    }
    const delayed = this.#delayed
    this.#delayed = []
    for (const { jobId, operation } of delayed) this.#settle(jobId, operation)
  }

  /** Resolves when every outcome is on disk or was tried once more and had to be given up. */
  async drain(): Promise<void> {
    this.flush()
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight)
  }

  #settle(jobId: string, operation: Operation): void {
    const written: Promise<void> = this.#commit.submit(operation, jobsLimits.settlePatienceMs).then(
      (outcome) => this.#written(jobId, outcome),
      (error) => this.#notWritten(jobId, operation, error),
    )
    const slot = this.#inFlight.add(written)
    written.finally(() => this.#inFlight.remove(slot))
  }

  #written(jobId: string, outcome: Outcome): void {
    if (outcome.applied || wasNeverAccepted(outcome)) return
    const { stage, code } = outcome
    this.#events.settleRefused?.({
      jobId,
      stage,
      code: stage === ledgerStage.name ? ledgerCodeName(code) : String(code),
    })
  }

  #notWritten(jobId: string, operation: Operation, error: unknown): void {
    if (error instanceof PoolError) {
      const lost = error.code === 'shutting_down' || this.#delayed.length >= jobsLimits.unsettledMax
      this.#events.settleDelayed?.({ jobId, lost })
      if (!lost) this.#delayed.push({ jobId, operation })
    } else this.#events.jobBroke?.({ jobId, error })
  }
}

/** The database was away when it should have been accepted, and so it was not. */
function wasNeverAccepted({ stage, code }: Outcome & { applied: false }): boolean {
  return stage === ledgerStage.name
    ? code === ledgerCodes.unknown_hold
    : stage === jobMoveStage.name && code === moveCodes.unknownJob
}
