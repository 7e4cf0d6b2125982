import type { RefusalCode } from '#protocol'
import type { Fault } from './count-usage.ts'
import type { FinalState } from './job-states.ts'

/** Which attempt of which job, for log lines. */
export interface AttemptNames {
  readonly jobId: string
  readonly choice: number
  readonly attempt: number
  readonly workerId: string
}

/** What happened to jobs, told once each; logs and counters are made from it. All are optional and must not throw. */
export interface JobEvents {
  jobAccepted?(event: { jobId: string; keyId: string; kind: string; model: string; choices: number }): void
  /** Before it became a job. */
  jobRefused?(event: { code: RefusalCode; keyId: string; kind: string }): void
  /** A worker has it. `waitedMs` since it was accepted, or since its last attempt ended. */
  runLeased?(event: AttemptNames & { waitedMs: number; resumed: number }): void
  /** The first piece of an attempt came. */
  firstToken?(event: AttemptNames & { model: string; ms: number }): void
  /**
   * A run ended, as far as it tells something about its worker: well, with a failure of its own, with its session, or standing
   * still (nothing came until the deadline, or no end after the whole answer).
   */
  runEnded?(event: AttemptNames & { how: 'success' | 'error' | 'lost' | 'timeout' }): void
  /** A run goes elsewhere: nothing was relayed yet (`retry`), or it continues after `pieces` (`takeover`). */
  runMoved?(event: AttemptNames & { how: 'retry' | 'takeover'; code: RefusalCode; pieces: number }): void
  /** A worker claimed more than it can have used, or did not vouch for what it sent (`why`). */
  workerFault?(
    event: AttemptNames & {
      fault: Fault
      claim: { promptTokens: number; completionTokens: number }
      why: string | undefined
    },
  ): void
  /** Of workers that computed one answer side by side this one gave another than the rest. `exact`: in one kernel class, where that is proof. */
  dissented?(event: AttemptNames & { model: string; exact: boolean; by: readonly string[] }): void
  jobEnded?(event: {
    jobId: string
    keyId: string
    kind: string
    model: string
    state: FinalState
    code: RefusalCode | null
    promptTokens: number
    completionTokens: number
    segments: number
    ms: number
  }): void
  /** Jobs of dead pool processes were marked. */
  jobsInterrupted?(event: { jobs: number }): void
  /** Holds of jobs that ended without them, or whose time was over, were released. */
  holdsReleased?(event: { holds: number }): void
  /** An outcome is kept in memory until the database is back; `lost` when there were too many. */
  settleDelayed?(event: { jobId: string; lost: boolean }): void
  /** The job had ended otherwise (another pool process took this one for dead), or its hold was gone. */
  settleRefused?(event: { jobId: string; stage: string; code: string }): void
  /** Our own mistake; the job it belongs to failed. */
  jobBroke?(event: { jobId: string | null; error: unknown }): void
}
