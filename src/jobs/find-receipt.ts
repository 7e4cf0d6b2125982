import type { PoolKeys } from '#log'
import { buildReceipt, decodeSigned, decodeStrict, parseMessage, samplingCommitment } from '#protocol'
import type { Sql } from '#storage'
import { tellSampling } from '#verification'

/** Where leaves are in the log, in the order asked for, and a checkpoint that covers them, by the pool's key of that id. */
export type ProveLeaves = (
  leaves: readonly { readonly kind: 'receipt' | 'order'; readonly ref: string }[],
  pool: Buffer,
) => Promise<
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
  /** The pool's, those it had before as well: a receipt stays what it was. */
  readonly keys: PoolKeys
  readonly prove: ProveLeaves
  /** Receipts of other pools that computed a part of the job. */
  readonly remote?: (jobId: string) => Promise<readonly Buffer[]>
}

/** A job's receipt as the file that anyone can check; undefined when there is no such job. */
export async function findReceipt(
  { sql, keys, prove, remote }: ReceiptSources,
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
  const pool = poolOf(statement)
  const poolKey = pool && keys.ofPool(pool)
  if (!poolKey) throw new Error(`the statement about job ${id} is none of this pool`)
  const leaves = [
    { kind: 'receipt', ref: id },
    { kind: 'order', ref: id },
  ] as const
  const proof = await prove(leaves, pool)
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
    successions: byItself(row.verdicts ?? [], poolKey) ? undefined : keys.notesSince(poolKey),
  })
  return { state: 'ready', keyId, file }
}

function poolOf(statement: Buffer): Buffer | undefined {
  const bytes = decodeStrict(statement)
  const message = bytes.ok ? parseMessage('pool-statement/1', bytes.value) : undefined
  return message?.ok ? message.message.pool : undefined
}

/** Whether one key has signed all of them. */
const byItself = (verdicts: readonly Buffer[], key: Buffer) =>
  verdicts.every((wire) => {
    const decoded = decodeSigned(wire, 'verdict/1')
    return decoded.ok && decoded.signed.signature.key.equals(key)
  })

interface Row {
  readonly keyId: string
  readonly order: Buffer | null
  readonly sampling: Buffer | null
  readonly workers: Buffer | null
  readonly statement: Buffer | null
  readonly verdicts: Buffer[] | null
}
