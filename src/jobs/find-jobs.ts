import type { Sql } from '#storage'
import type { JobRow, MoveRow, SegmentRow } from './job-stages.ts'
import { isFinal, type JobState } from './job-states.ts'
import { jobsLimits } from './limits.ts'

/** A job on record. Times are milliseconds since 1970; null = not yet, or not at all. */
export interface JobSummary extends Omit<JobRow, 'instance'>, MoveRow {}

export interface JobDetails extends JobSummary {
  readonly segments: readonly SegmentRow[]
}

const columns = (sql: Sql) => sql`
  id, state, kind, key_id as "keyId", model, digest, choices, max_tokens as "maxTokens", streamed,
  accepted_at as "acceptedAt", deadline_at as "deadlineAt", first_token_at as "firstTokenAt", ended_at as "endedAt",
  prompt_tokens as "promptTokens", completion_tokens as "completionTokens", code`

/** Newest first; `after` is the id of the last one already seen. At most {@link jobsLimits.pageRowsMax}. */
export async function listJobs(
  sql: Sql,
  page: { after?: string | undefined; limit: number; state?: JobState | undefined },
): Promise<JobSummary[]> {
  const { after, state } = page
  // Open jobs are few and have an index of their own.
  const open = state && !isFinal(state) ? sql`and ended_at is null` : sql``
  return sql<JobSummary[]>`
    select ${columns(sql)} from jobs
     where true
       ${after ? sql`and id < ${after}::uuid` : sql``}
       ${state ? sql`and state = ${state}` : sql``} ${open}
     order by id desc
     limit ${Math.min(page.limit, jobsLimits.pageRowsMax)}`
}

/** One job with its segments, by choice and attempt. */
export async function showJob(sql: Sql, id: string): Promise<JobDetails | undefined> {
  const [job] = await sql<JobSummary[]>`select ${columns(sql)} from jobs where id = ${id}::uuid`
  if (!job) return undefined
  const segments = await sql<SegmentRow[]>`
    select job_id as "jobId", choice, attempt, lease, worker_id as "workerId", digest, outcome,
           started_at as "startedAt", ended_at as "endedAt", pieces, prompt_claim::float8 as "promptClaim",
           completion_claim::float8 as "completionClaim", finish, fault, code, signed
      from segments where job_id = ${id}::uuid order by choice, attempt`
  return { ...job, segments }
}
