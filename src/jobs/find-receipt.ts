import { buildReceipt, decodeStrict } from '#protocol'
import type { Sql } from '#storage'

/** Where a job's receipt leaf is in the log, and a checkpoint that covers it. */
export type ProveReceipt = (
  jobId: string,
) => Promise<{ readonly index: number; readonly path: readonly Buffer[]; readonly checkpoint: string } | undefined>

/** `pending` until the job is settled. */
export type FoundReceipt =
  | { readonly state: 'pending'; readonly keyId: string }
  | { readonly state: 'ready'; readonly keyId: string; readonly file: Buffer }

/** A job's receipt as the file that anyone can check; undefined when there is no such job. */
export async function findReceipt(
  { sql, poolKey, prove }: { readonly sql: Sql; readonly poolKey: Buffer; readonly prove: ProveReceipt },
  id: string,
): Promise<FoundReceipt | undefined> {
  const [row] = await sql<Row[]>`
    select j.key_id as "keyId", o.wire as "order", r.workers, r.statement
      from jobs j left join orders o on o.job_id = j.id left join receipts r on r.job_id = j.id
     where j.id = ${id}::uuid`
  if (!row) return undefined
  const { keyId, order, workers, statement } = row
  if (!order || !workers || !statement) return { state: 'pending', keyId }
  const log = await prove(id)
  if (!log) return { state: 'pending', keyId }
  const wires = decodeStrict(workers)
  if (!wires.ok || !Array.isArray(wires.value)) throw new Error(`the statements of job ${id} cannot be read`)
  const list = wires.value.map((wire) => Buffer.from(wire as Uint8Array))
  return { state: 'ready', keyId, file: buildReceipt({ poolKey, order, workers: list, statement, verdicts: [], log }) }
}

interface Row {
  readonly keyId: string
  readonly order: Buffer | null
  readonly workers: Buffer | null
  readonly statement: Buffer | null
}
