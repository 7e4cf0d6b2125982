import type { Sql } from '#storage'

/** A check that somebody must make. */
export interface OwedCheck {
  readonly id: string
  readonly jobId: string
  readonly choice: number
  readonly attempt: number
  readonly workerId: string
  readonly model: string
  readonly digest: string | null
  readonly statement: Buffer | null
  readonly epoch: number
  readonly reason: string
  /** Milliseconds since 1970. */
  readonly owedAt: number
}

/** Columns of {@link OwedCheck}. */
export const checkColumns = (sql: Sql) => sql`
  id, job_id as "jobId", choice, attempt, worker_id as "workerId", model, digest, statement, epoch::int as epoch, reason,
  owed_at as "owedAt"`
