import { leafHash } from '#crypto'
import { readResolutions, readTransfers } from '#ledger'
import type { LoggedLeaf } from '#log'
import { decodeStrict, orderLeafData, receiptLeafData, samplingCommitment } from '#protocol'
import { type Sql, uuids } from '#storage'
import { readMutualLooks } from '#verification'
import { type AuditFacts, judgeOrder, judgeReceipt } from './audit-jobs.ts'
import type { SettledRow, SettledSegment } from './judge-job-row.ts'
import type { OrderRow, ReceiptRow } from './order-stages.ts'

const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Orders and receipts these leaves commit to, each against its leaf and what stands around it. The first that is wrong, in a sentence. */
export async function auditJobLeaves(
  sql: Sql,
  leaves: readonly LoggedLeaf[],
  facts: AuditFacts,
): Promise<string | undefined> {
  const ours = leaves.filter(({ kind }) => kind === 'order' || kind === 'receipt')
  const ids = [...new Set(ours.map(({ ref }) => ref))].filter((ref) => uuidPattern.test(ref))
  if (ours.length === 0) return undefined
  const [orders, receipts, holds, resolutions, jobs, segments, looks] = await Promise.all([
    readOrders(sql, ids),
    readReceipts(sql, ids),
    readTransfers(sql, ids),
    readResolutions(sql, ids),
    readJobs(sql, ids),
    readSegments(sql, ids),
    readMutualLooks(sql, ids),
  ])
  for (const { kind, index, ref, hash } of ours) {
    const order = orders.get(ref)
    const receipt = receipts.get(ref)
    const row = kind === 'order' ? order : receipt
    if (!row) return `Leaf ${index} of the log commits to the ${kind} of job ${ref}, which is gone.`
    const data = 'wire' in row ? orderData(row) : receiptData(row)
    if (!data || !leafHash(data).equals(hash)) return `The ${kind} of job ${ref} is not what the log committed to.`
    const hold = holds.get(ref)
    const around = {
      order,
      hold,
      resolution: resolutions.get(ref),
      job: jobs.get(ref),
      segments: segments.get(ref) ?? [],
      looks: looks.get(ref) ?? [],
    }
    const wrong = 'wire' in row ? judgeOrder(row, hold, facts) : judgeReceipt(row, around, facts)
    if (wrong !== undefined) return `The ${kind} of job ${ref} ${wrong}.`
  }
  return undefined
}

const orderData = ({ hash, sampling }: OrderRow) =>
  orderLeafData(hash, sampling ? samplingCommitment(sampling) : undefined)

function receiptData({ workers, statement }: ReceiptRow): Buffer | undefined {
  const wires = decodeStrict(workers)
  if (!wires.ok || !Array.isArray(wires.value)) return undefined
  const list = wires.value.filter((wire) => wire instanceof Uint8Array).map((wire) => Buffer.from(wire))
  return list.length === wires.value.length ? receiptLeafData(list, statement) : undefined
}

/** Each answers what should not exist, as one sentence without its end. */
const checks: readonly string[] = [
  `select 'The order of job ' || o.job_id || ' is not in the log' as problem from orders o
    where not exists (select from log_leaves l where l.kind = 'order' and l.ref = o.job_id::text)`,
  `select 'The receipt of job ' || r.job_id || ' is not in the log' from receipts r
    where not exists (select from log_leaves l where l.kind = 'receipt' and l.ref = r.job_id::text)`,
  `select 'Hold ' || t.id || ' was taken without an order' from transfers t
    where t.phase = 'pending' and not exists (select from orders o where o.job_id = t.id)`,
  `select 'Hold ' || t.hold || ' was resolved without a receipt' from transfers t
    where t.phase in ('posted', 'voided') and not exists (select from receipts r where r.job_id = t.hold)`,
  `select 'Hold ' || h.id || ' is open and there is no such job' from holds h
    where not exists (select from jobs j where j.id = h.id)`,
  `select 'Job ' || j.id || ' has not ended and holds nothing' from jobs j
    where j.ended_at is null and not exists (select from holds h where h.id = j.id)
      and not exists (select from transfers t where t.hold = j.id and t.phase = 'expired')`,
  `select 'Job ' || j.id || ' has no order' from jobs j where not exists (select from orders o where o.job_id = j.id)`,
  `select 'The order of job ' || o.job_id || ' has no job' from orders o where not exists (select from jobs j where j.id = o.job_id)`,
  `select 'Job ' || j.id || ' has ended and has no receipt' from jobs j
    where j.ended_at is not null and not exists (select from receipts r where r.job_id = j.id)
      and not exists (select from holds h where h.id = j.id)
      and not exists (select from transfers t where t.hold = j.id and t.phase = 'expired')`,
  `select 'Attempt ' || s.choice || '/' || s.attempt || ' is of job ' || s.job_id || ', which does not exist' from segments s
    where not exists (select from jobs j where j.id = s.job_id)`,
  `select 'Look ' || m.id || ' is at an answer of job ' || m.job_id || ', which has no receipt' from mutual_looks m
    where not exists (select from receipts r where r.job_id = m.job_id)`,
  `select 'The window of payer key ' || encode(coalesce(w.payer, o.payer), 'hex') || ' is not that of its orders'
     from payer_windows w
     full join (select payer, max(seq) as high from orders where seq is not null group by 1) o on o.payer = w.payer
    where coalesce(w.high, -2) <> coalesce(o.high, -1)`,
]

/** Rows without a leaf, and what orders, receipts, holds and jobs must agree on. The first that is wrong, in a sentence. */
export async function auditJobTables(sql: Sql): Promise<string | undefined> {
  for (const check of checks) {
    const [found] = await sql.unsafe<{ problem: string }[]>(`select * from (${check}) as c (problem) limit 1`)
    if (found) return `${found.problem}.`
  }
  return undefined
}

async function readOrders(sql: Sql, ids: readonly string[]): Promise<Map<string, OrderRow>> {
  const rows = await sql<(Omit<OrderRow, 'seq'> & { seq: bigint | null })[]>`
    select job_id as "jobId", hash, wire, payer, seq, sampling from orders where job_id = any (${uuids(ids)}::uuid[])`
  return new Map(rows.map((row) => [row.jobId, { ...row, seq: row.seq === null ? null : Number(row.seq) }]))
}

async function readReceipts(sql: Sql, ids: readonly string[]): Promise<Map<string, ReceiptRow>> {
  const rows = await sql<ReceiptRow[]>`
    select job_id as "jobId", workers, statement from receipts where job_id = any (${uuids(ids)}::uuid[])`
  return new Map(rows.map((row) => [row.jobId, row]))
}

async function readJobs(sql: Sql, ids: readonly string[]): Promise<Map<string, SettledRow>> {
  const rows = await sql<(SettledRow & { id: string })[]>`
    select id, state, kind, key_id as "keyId", model, digest, accepted_at as "acceptedAt", deadline_at as "deadlineAt",
           ended_at as "endedAt", prompt_tokens as "promptTokens", completion_tokens as "completionTokens"
      from jobs where id = any (${uuids(ids)}::uuid[])`
  return new Map(rows.map((row) => [row.id, row]))
}

async function readSegments(sql: Sql, ids: readonly string[]): Promise<Map<string, SettledSegment[]>> {
  const rows = await sql<(SettledSegment & { jobId: string })[]>`
    select job_id as "jobId", choice, attempt, worker_id as "workerId", digest, pieces, signed,
           prompt_claim::float8 as "promptClaim", completion_claim::float8 as "completionClaim"
      from segments where job_id = any (${uuids(ids)}::uuid[])`
  return Map.groupBy(rows, (row) => row.jobId)
}
