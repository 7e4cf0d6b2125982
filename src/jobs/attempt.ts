import type { FinishReason, RefusalCode, UsageClaim } from '#protocol'
import type { RunHandle } from '#workers'
import type { Fault } from './count-usage.ts'
import type { SegmentRow } from './job-stages.ts'

/** One attempt of one choice at one worker: the segment on record. Times are milliseconds since 1970. */
export class Attempt {
  readonly lease: string
  readonly workerId: string
  readonly digest: string | null
  readonly startedAt: number
  outcome: SegmentRow['outcome'] = 'running'
  endedAt: number | null = null
  /** Pieces relayed: tokens before the stop string and within the limit, and deltas. */
  pieces = 0
  claim: UsageClaim | undefined
  finish: FinishReason | undefined
  fault: Fault | undefined
  code: RefusalCode | undefined
  handle: RunHandle | undefined
  /** Tokens received, relayed or not. */
  received = 0
  /** Its first output came. */
  heard = false
  /** Changed since it was last written. */
  unsaved = true

  constructor(lease: string, workerId: string, digest: string | null, startedAt: number) {
    this.lease = lease
    this.workerId = workerId
    this.digest = digest
    this.startedAt = startedAt
  }

  get running(): boolean {
    return this.outcome === 'running'
  }

  close(outcome: Exclude<SegmentRow['outcome'], 'running'>, endedAt: number, code?: RefusalCode): void {
    this.outcome = outcome
    this.endedAt = endedAt
    this.code = code
    this.unsaved = true
  }

  row(jobId: string, choice: number, attempt: number): SegmentRow {
    return {
      jobId,
      choice,
      attempt,
      lease: this.lease,
      workerId: this.workerId,
      digest: this.digest,
      outcome: this.outcome,
      startedAt: this.startedAt,
      endedAt: this.endedAt,
      pieces: this.pieces,
      promptClaim: this.claim?.promptTokens ?? null,
      completionClaim: this.claim?.completionTokens ?? null,
      finish: this.finish ?? null,
      fault: this.fault ?? null,
      code: this.code ?? null,
    }
  }
}
