import { buildReceipt, decodeStrict, samplingCommitment } from '#protocol'
import type { Sql } from '#storage'
import { tellSampling } from '#verification'

/** Where leaves are in the log, in the order asked for, and a checkpoint that covers them. */
export type ProveLeaves = (leaves: readonly { readonly kind: 'receipt' | 'order'; readonly ref: string }[]) => Promise<
  | {
      readonly places: readonly { readonly index: number; readonly path: readonly Buffer[] }[]
      readonly checkpoint: string
    }
  | undefined
>

/** `pending` until the job is settled. */
export type FoundReceipt =
  | { readonly state: 'pending'; readonly keyId: string }
  | { readonly state: 'ready'; readonly keyId: string; readonly file: Buffer }

interface ReceiptSources {
  readonly sql: Sql
  readonly poolKey: Buffer
  readonly prove: ProveLeaves
  /** Receipts of other pools that computed a part of the job. */
  readonly remote?: (jobId: string) => Promise<readonly Buffer[]>
}

/** A job's receipt as the file that anyone can check; undefined when there is no such job. */
export async function findReceipt(
  { sql, poolKey, prove, remote }: ReceiptSources,
  id: string,
): Promise<FoundReceipt | undefined> {
  const [row] = await sql<Row[]>`
    select j.key_id as "keyId", o.wire as "order", o.sampling, r.workers, r.statement,
           (select array_agg(v.wire order by v.check_id) from verdicts v where v.job_id = j.id) as verdicts
      from jobs j left join orders o on o.job_id = j.id left join receipts r on r.job_id = j.id
     where j.id = ${id}::uuid`
  if (!row) return undefined
  const { keyId, order, workers, statement, sampling } = row
  if (!order || !workers || !statement) return { state: 'pending', keyId }
  const proof = await prove([
    { kind: 'receipt', ref: id },
    { kind: 'order', ref: id },
  ])
  const [ofReceipt, ofOrder] = proof?.places ?? []
  if (!proof || !ofReceipt || !ofOrder) return { state: 'pending', keyId }
  const wires = decodeStrict(workers)
  if (!wires.ok || !Array.isArray(wires.value)) throw new Error(`the statements of job ${id} cannot be read`)
  const list = wires.value.map((wire) => Buffer.from(wire as Uint8Array))
  const sampled = sampling && {
    ...ofOrder,
    commitment: samplingCommitment(sampling),
    told: await tellSampling(sql, sampling, list),
  }
  const file = buildReceipt({
    poolKey,
    order,
    workers: list,
    statement,
    verdicts: row.verdicts ?? [],
    log: { ...ofReceipt, checkpoint: proof.checkpoint },
    sampling: sampled ?? undefined,
    remote: await remote?.(id),
  })
  return { state: 'ready', keyId, file }
}

interface Row {
  readonly keyId: string
  readonly order: Buffer | null
  readonly sampling: Buffer | null
  readonly workers: Buffer | null
  readonly statement: Buffer | null
  readonly verdicts: Buffer[] | null
}
