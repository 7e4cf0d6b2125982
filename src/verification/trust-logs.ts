import { routingWeight } from '#reputation'
import { type Database, fromDatabase } from '#storage'
import type { Duty } from './standings.ts'
import type { Phase } from './verdict.ts'

/** One line of the log `inference_verifications`: an answer that was owed a look. Times in milliseconds since 1970. */
export interface VerificationRecord {
  readonly id: string
  readonly jobId: string
  readonly workerId: string
  readonly model: string
  /** `sampled`, `unsigned`, `doubt` or `reference`; `side_by_side`: by a worker that computed the same, before it was shown. */
  readonly reason: string
  /** `owed`, `assigned`, `committed`, `revealed`; ended: `clean`, `hit`, `waived`. */
  readonly state: string
  /** Why nobody looked. */
  readonly waived: string | null
  readonly verifier: string | null
  /** Mean margin of the first look, in logits. */
  readonly score: number | null
  /** Chance of being checked, parts per million. */
  readonly qPpm: number
  readonly epoch: number
  readonly owedAt: number
  readonly endedAt: number | null
}

/** One line of the log `worker_reputation`: how a worker stands with a model, in one of its duties. */
export interface ReputationRecord {
  /** `worker duty model`, the order of the list. */
  readonly id: string
  readonly workerId: string
  readonly model: string
  readonly duty: Duty
  readonly phase: Phase
  readonly clean: number
  /** Of the charts, micronats; the alarm is at 14,914,123. */
  readonly heights: readonly number[]
  /** Routing weight, 0 … 1. */
  readonly weight: number
  readonly accusers: readonly string[]
  readonly changedAt: number
}

interface Page {
  readonly worker?: string | undefined
  readonly after?: string | undefined
  readonly limit: number
}

const firstId = '00000000-0000-0000-0000-000000000000'

/** The two logs of seed 1, read from the tables that decide. */
export class TrustLogs {
  readonly #database: Pick<Database, 'sql'>

  constructor(database: Pick<Database, 'sql'>) {
    this.#database = database
  }

  /** Oldest first. @throws PoolError database_unavailable. */
  async verifications({ worker, after = firstId, limit }: Page): Promise<VerificationRecord[]> {
    const { sql } = this.#database
    const of = worker === undefined ? sql`true` : sql`worker_id = ${worker}`
    const rows = await fromDatabase(sql<(Omit<VerificationRecord, 'epoch'> & { epoch: bigint })[]>`
      with checked as (
        select id, job_id, worker_id, model, reason, state, waived, verifier, score, q_ppm, epoch, owed_at, ended_at
          from checks where id > ${after} and ${of} order by id limit ${limit}),
      looked as (
        select id, job_id, worker_id, model, 'side_by_side', says, case when says = 'waived' then why end, verifier, score, 1000000,
               epoch, at, at
          from mutual_looks where id > ${after} and ${of} order by id limit ${limit})
      select id, job_id as "jobId", worker_id as "workerId", model, reason, state, waived, verifier, score,
             q_ppm as "qPpm", epoch, owed_at as "owedAt", ended_at as "endedAt"
        from (select * from checked union all select * from looked) as both_kinds
       order by id limit ${limit}`)
    return rows.map((row) => ({ ...row, epoch: Number(row.epoch) }))
  }

  /** In order of worker, duty and model. @throws PoolError database_unavailable. */
  async reputation({ worker, after = '', limit }: Page): Promise<ReputationRecord[]> {
    const { sql } = this.#database
    const rows = await fromDatabase(sql<
      (Omit<ReputationRecord, 'heights' | 'weight'> & { heights: bigint[]; good: number; bad: number })[]
    >`
      select worker_id || ' ' || duty || ' ' || model as id, worker_id as "workerId", model, duty, phase, clean, heights,
             posterior_clean as good, posterior_hits as bad, accusers, changed_at as "changedAt"
        from standings
       where worker_id || ' ' || duty || ' ' || model > ${after}
         and ${worker === undefined ? sql`true` : sql`worker_id = ${worker}`}
       order by worker_id || ' ' || duty || ' ' || model limit ${limit}`)
    return rows.map(({ heights, good, bad, ...row }) => ({
      ...row,
      heights: heights.map(Number),
      weight: isBarred(row.phase) ? 0 : routingWeight({ clean: good, hits: bad }),
    }))
  }
}

const isBarred = (phase: Phase) => phase === 'frozen' || phase === 'convicted'
