import type { Sql } from '#storage'

/** A worker's answer, as whoever looks at it finds it. */
export interface AnswerSeen {
  readonly jobId: string
  readonly choice: number
  readonly attempt: number
  readonly workerId: string
  readonly model: string
  readonly digest: string | null
  readonly epoch: number
}

/** A check that somebody must make. */
export interface OwedCheck extends AnswerSeen {
  readonly id: string
  readonly statement: Buffer | null
  readonly reason: string
  /** Milliseconds since 1970. */
  readonly owedAt: number
}

/** Columns of {@link OwedCheck}. */
export const checkColumns = (sql: Sql) => sql`
  id, job_id as "jobId", choice, attempt, worker_id as "workerId", model, digest, statement, epoch::int as epoch, reason,
  owed_at as "owedAt"`
