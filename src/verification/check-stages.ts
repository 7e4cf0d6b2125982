import { bigints, bytes, numbers, type Stage, texts, uuids } from '#storage'
import type { AnswerSeen } from './check-columns.ts'
import type { MutualLook } from './comparison.ts'

/** A check as it begins: owed, or waived at once. */
export interface CheckRow extends AnswerSeen {
  readonly id: string
  readonly statement: Buffer | null
  readonly qPpm: number
  readonly reason: 'sampled' | 'unsigned' | 'doubt' | 'reference'
  /** Why nobody will look; null: somebody will. */
  readonly waived: string | null
  /** Milliseconds since 1970. */
  readonly at: number
}

/**
 * The one table that holds what was asked and answered, sealed. A key of a transcript is destroyed after a day, and a copy of the table
 * would keep it: backups leave the rows out.
 */
export const contentTable = 'transcripts'

/** A sealed transcript. */
export interface TranscriptRow {
  readonly jobId: string
  readonly choice: number
  readonly attempt: number
  readonly wrap: Buffer
  readonly body: Buffer
  readonly at: number
}

/** New checks. Writing one twice is writing it once. */
export const checkStage: Stage<CheckRow> = {
  name: 'checks',
  alwaysApplies: true,
  async apply(tx, rows) {
    await tx`
      insert into checks (id, job_id, choice, attempt, worker_id, model, digest, statement, epoch, q_ppm, reason, state,
                          waived, owed_at, ended_at)
      select id, job_id, choice, attempt, worker_id, model, digest, statement, epoch, q_ppm, reason,
             case when waived is null then 'owed' else 'waived' end, waived, to_timestamp(at / 1000.0),
             case when waived is not null then to_timestamp(at / 1000.0) end
        from unnest(
          ${uuids(rows.map((r) => r.id))}::uuid[], ${uuids(rows.map((r) => r.jobId))}::uuid[],
          ${numbers(rows.map((r) => r.choice))}::smallint[], ${numbers(rows.map((r) => r.attempt))}::smallint[],
          ${texts(rows.map((r) => r.workerId))}::text[], ${texts(rows.map((r) => r.model))}::text[],
          ${texts(rows.map((r) => r.digest))}::text[], ${bytes(rows.map((r) => r.statement))}::bytea[],
          ${bigints(rows.map((r) => r.epoch))}::bigint[], ${numbers(rows.map((r) => r.qPpm))}::int[],
          ${texts(rows.map((r) => r.reason))}::text[], ${texts(rows.map((r) => r.waived))}::text[],
          ${bigints(rows.map((r) => r.at))}::bigint[])
          as r (id, job_id, choice, attempt, worker_id, model, digest, statement, epoch, q_ppm, reason, waived, at)
      on conflict do nothing`
    return rows.map(() => 0)
  },
}

/** Answers of which a check is owed. */
export const transcriptStage: Stage<TranscriptRow> = {
  name: contentTable,
  alwaysApplies: true,
  async apply(tx, rows) {
    await tx`
      insert into transcripts (job_id, choice, attempt, wrap, body, kept_at)
      select job_id, choice, attempt, wrap, body, to_timestamp(at / 1000.0)
        from unnest(
          ${uuids(rows.map((r) => r.jobId))}::uuid[], ${numbers(rows.map((r) => r.choice))}::smallint[],
          ${numbers(rows.map((r) => r.attempt))}::smallint[], ${bytes(rows.map((r) => r.wrap))}::bytea[],
          ${bytes(rows.map((r) => r.body))}::bytea[], ${bigints(rows.map((r) => r.at))}::bigint[])
          as r (job_id, choice, attempt, wrap, body, at)
      on conflict do nothing`
    return rows.map(() => 0)
  },
}

/** A look at an answer by a worker that computed the same beside it. */
export interface MutualLookRow extends MutualLook, AnswerSeen {
  readonly id: string
}

/** Written with the receipt that tells of them. */
export const mutualLookStage: Stage<MutualLookRow> = {
  name: 'mutual_looks',
  alwaysApplies: true,
  async apply(tx, rows) {
    await tx`
      insert into mutual_looks (id, job_id, choice, attempt, worker_id, model, digest, epoch, verifier, operator, says, why, score,
                                commitment, evidence, at)
      select id, job_id, choice, attempt, worker_id, model, digest, epoch, verifier, operator, says, why, score, commitment, evidence,
             to_timestamp(at / 1000.0)
        from unnest(
          ${uuids(rows.map((r) => r.id))}::uuid[], ${uuids(rows.map((r) => r.jobId))}::uuid[],
          ${numbers(rows.map((r) => r.choice))}::smallint[], ${numbers(rows.map((r) => r.attempt))}::smallint[],
          ${texts(rows.map((r) => r.workerId))}::text[], ${texts(rows.map((r) => r.model))}::text[],
          ${texts(rows.map((r) => r.digest))}::text[], ${bigints(rows.map((r) => r.epoch))}::bigint[],
          ${texts(rows.map((r) => r.verifier))}::text[], ${texts(rows.map((r) => r.operator))}::text[],
          ${texts(rows.map((r) => r.says))}::text[], ${texts(rows.map((r) => r.why))}::text[],
          ${numbers(rows.map((r) => r.score))}::float8[], ${bytes(rows.map((r) => r.commitment))}::bytea[],
          ${bytes(rows.map((r) => r.evidence))}::bytea[], ${bigints(rows.map((r) => r.at))}::bigint[])
          as r (id, job_id, choice, attempt, worker_id, model, digest, epoch, verifier, operator, says, why, score, commitment,
                evidence, at)
      on conflict do nothing`
    return rows.map(() => 0)
  },
}
