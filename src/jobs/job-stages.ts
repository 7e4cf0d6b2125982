import { ledgerStage } from '#ledger'
import type { Leaf } from '#log'
import { bigints, booleans, bytes, numbers, type Stage, type Tx, texts, uuids } from '#storage'
import { checkStage, epochStage, epochToldStage, mutualLookStage, transcriptStage } from '#verification'
import type { JobState } from './job-states.ts'
import { jobsLimits } from './limits.ts'
import { orderStage, payerOrderStage, receiptStage } from './order-stages.ts'

/** A job as it is accepted. Times are milliseconds since 1970. */
export interface JobRow {
  readonly id: string
  readonly instance: string
  readonly kind: string
  readonly keyId: string
  readonly model: string
  readonly digest: string | null
  readonly choices: number
  readonly maxTokens: number
  readonly streamed: boolean
  readonly acceptedAt: number
  readonly deadlineAt: number
}

/** Where a job is now; a later one of the same job replaces an earlier one whole. */
export interface MoveRow {
  readonly id: string
  readonly state: JobState
  readonly digest: string | null
  readonly firstTokenAt: number | null
  readonly endedAt: number | null
  readonly promptTokens: number | null
  readonly completionTokens: number | null
  readonly code: string | null
}

export interface SegmentRow {
  readonly jobId: string
  readonly choice: number
  readonly attempt: number
  readonly lease: string
  readonly workerId: string
  readonly digest: string | null
  readonly outcome: 'running' | 'ended' | 'failed' | 'lost' | 'cancelled'
  readonly startedAt: number
  readonly endedAt: number | null
  readonly pieces: number
  readonly promptClaim: number | null
  readonly completionClaim: number | null
  readonly finish: string | null
  readonly fault: string | null
  readonly code: string | null
  /** The worker vouched for what it sent. */
  readonly signed: boolean
}

export interface IdempotencyRow {
  readonly keyId: string
  readonly keyMac: Buffer
  readonly bodyMac: Buffer
  readonly jobId: string
  readonly createdAt: number
}

/** The codes of {@link jobMoveStage}. */
export const moveCodes = { applied: 0, endedOtherwise: 1, unknownJob: 2 } as const

const seconds = (ms: number | null) => (ms === null ? null : ms / 1_000)
const zeros = (elements: readonly unknown[]): number[] => elements.map(() => 0)

/** The last of each name, in order: one statement must not touch a row twice. */
function lastOfEach<E>(elements: readonly E[], nameOf: (element: E) => string): E[] {
  return [...new Map(elements.map((element) => [nameOf(element), element])).values()]
}

/** New jobs, in state `queued`. Inserting one twice is inserting it once. */
export const jobInsertStage: Stage<JobRow> = {
  name: 'jobs',
  alwaysApplies: true,
  async apply(tx, rows) {
    await tx`
      insert into jobs (id, instance, kind, key_id, model, digest, choices, max_tokens, streamed, accepted_at, deadline_at)
      select id, instance, kind, key_id, model, digest, choices, max_tokens, streamed,
             to_timestamp(accepted), to_timestamp(deadline)
        from unnest(
          ${uuids(rows.map((r) => r.id))}::uuid[], ${uuids(rows.map((r) => r.instance))}::uuid[],
          ${texts(rows.map((r) => r.kind))}::text[], ${texts(rows.map((r) => r.keyId))}::text[],
          ${texts(rows.map((r) => r.model))}::text[], ${texts(rows.map((r) => r.digest))}::text[],
          ${numbers(rows.map((r) => r.choices))}::smallint[], ${numbers(rows.map((r) => r.maxTokens))}::int[],
          ${booleans(rows.map((r) => r.streamed))}::bool[],
          ${numbers(rows.map((r) => seconds(r.acceptedAt)))}::float8[],
          ${numbers(rows.map((r) => seconds(r.deadlineAt)))}::float8[])
          as r (id, instance, kind, key_id, model, digest, choices, max_tokens, streamed, accepted, deadline)
      on conflict (id) do nothing`
    return zeros(rows)
  },
}

/** Moves and ends of jobs, see `move_jobs` in the migration. Codes: {@link moveCodes}. */
export const jobMoveStage: Stage<MoveRow> = {
  name: 'job_moves',
  asksOnce: true,
  // a settlement whose money is refused is rare
  ahead: 'writes',
  async apply(tx, rows) {
    const last = lastOfEach(rows, (row) => row.id)
    const codes = await moveJobs(tx, last)
    if (last.length === rows.length) return codes
    const codeOf = new Map(last.map((row, n) => [row.id, codes[n] ?? 0]))
    return rows.map((row) => codeOf.get(row.id) ?? 0)
  },
}

async function moveJobs(tx: Tx, rows: readonly MoveRow[]): Promise<number[]> {
  const [answer] = await tx<{ codes: number[] }[]>`
    select move_jobs(
      ${uuids(rows.map((r) => r.id))}::uuid[], ${texts(rows.map((r) => r.state))}::text[],
      ${texts(rows.map((r) => r.digest))}::text[],
      ${bigints(rows.map((r) => r.firstTokenAt))}::bigint[], ${bigints(rows.map((r) => r.endedAt))}::bigint[],
      ${numbers(rows.map((r) => r.promptTokens))}::int[], ${numbers(rows.map((r) => r.completionTokens))}::int[],
      ${texts(rows.map((r) => r.code))}::text[]) as codes`
  return answer?.codes ?? []
}

/** Attempts, when they begin and again when they end; what has ended stays as it is. */
export const segmentStage: Stage<SegmentRow> = {
  name: 'segments',
  alwaysApplies: true,
  async apply(tx, elements) {
    const rows = lastOfEach(elements, (row) => `${row.jobId} ${row.choice} ${row.attempt}`)
    await tx`
      insert into segments (job_id, choice, attempt, lease, worker_id, digest, outcome, started_at, ended_at, pieces,
                            prompt_claim, completion_claim, finish, fault, code, signed)
      select job_id, choice, attempt, lease, worker_id, digest, outcome, to_timestamp(started), to_timestamp(ended),
             pieces, prompt_claim, completion_claim, finish, fault, code, signed
        from unnest(
          ${uuids(rows.map((r) => r.jobId))}::uuid[], ${numbers(rows.map((r) => r.choice))}::smallint[],
          ${numbers(rows.map((r) => r.attempt))}::smallint[], ${uuids(rows.map((r) => r.lease))}::uuid[],
          ${texts(rows.map((r) => r.workerId))}::text[], ${texts(rows.map((r) => r.digest))}::text[],
          ${texts(rows.map((r) => r.outcome))}::text[], ${numbers(rows.map((r) => seconds(r.startedAt)))}::float8[],
          ${numbers(rows.map((r) => seconds(r.endedAt)))}::float8[], ${numbers(rows.map((r) => r.pieces))}::int[],
          ${bigints(rows.map((r) => r.promptClaim))}::bigint[], ${bigints(rows.map((r) => r.completionClaim))}::bigint[],
          ${texts(rows.map((r) => r.finish))}::text[], ${texts(rows.map((r) => r.fault))}::text[],
          ${texts(rows.map((r) => r.code))}::text[], ${booleans(rows.map((r) => r.signed))}::bool[])
          as r (job_id, choice, attempt, lease, worker_id, digest, outcome, started, ended, pieces,
                prompt_claim, completion_claim, finish, fault, code, signed)
      on conflict (job_id, choice, attempt) do update
        set outcome = excluded.outcome, ended_at = excluded.ended_at, pieces = excluded.pieces,
            prompt_claim = excluded.prompt_claim, completion_claim = excluded.completion_claim,
            finish = excluded.finish, fault = excluded.fault, code = excluded.code, signed = excluded.signed
      where segments.outcome = 'running'`
    return zeros(elements)
  },
}

/**
 * Idempotency keys of new jobs. 1 = the key already has another job: one that runs, was answered, or was cancelled after
 * something was relayed. A job that failed frees its key: nothing was posted for it, trying again is what keys are for.
 */
export const idempotencyStage: Stage<IdempotencyRow> = {
  name: 'idempotency',
  asksOnce: true,
  async apply(tx, rows) {
    const nameOf = (row: { keyId: string; keyMac: Buffer }) => `${row.keyId} ${row.keyMac.toString('base64')}`
    // Of several jobs for one key in one flush the first wins.
    const first = lastOfEach([...rows].reverse(), nameOf)
    const taken = await tx<{ job_id: string }[]>`
      insert into idempotency as i (key_id, key_mac, body_mac, job_id, created_at)
      select * from unnest(
        ${texts(first.map((r) => r.keyId))}::text[], ${bytes(first.map((r) => r.keyMac))}::bytea[],
        ${bytes(first.map((r) => r.bodyMac))}::bytea[], ${uuids(first.map((r) => r.jobId))}::uuid[],
        (select array_agg(to_timestamp(s) order by n)
           from unnest(${numbers(first.map((r) => seconds(r.createdAt)))}::float8[]) with ordinality as t (s, n)))
      on conflict (key_id, key_mac) do update
        set body_mac = excluded.body_mac, job_id = excluded.job_id, created_at = excluded.created_at
      where i.job_id = excluded.job_id
         or i.created_at < excluded.created_at - ${jobsLimits.idempotencyMs} * interval '1 millisecond'
         or exists (select 1 from jobs j where j.id = i.job_id and j.state in ('failed', 'expired', 'interrupted'))
      returning job_id`
    const winners = new Set(taken.map((row) => row.job_id))
    return rows.map((row) => (winners.has(row.jobId) ? 0 : 1))
  },
}

/** Every stage of accepting and settling, in the order a flush must apply them: money first, the log last. */
export const jobStages = (logStage: Stage<Leaf>): readonly Stage<never>[] => [
  ledgerStage,
  payerOrderStage,
  epochStage,
  epochToldStage,
  jobMoveStage,
  idempotencyStage,
  orderStage,
  jobInsertStage,
  segmentStage,
  receiptStage,
  mutualLookStage,
  checkStage,
  transcriptStage,
  logStage,
]
