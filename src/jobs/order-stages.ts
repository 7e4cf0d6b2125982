import { bigints, bytes, type Stage, type Tx, uuids } from '#storage'
import { jobsLimits } from './limits.ts'

/** An order on record. */
export interface OrderRow {
  readonly jobId: string
  /** 32 bytes. */
  readonly hash: Buffer
  readonly wire: Buffer
  /** Raw public key. */
  readonly payer: Buffer
  /** Null: the pool signed as custodian. */
  readonly seq: number | null
  /** 104 bytes: by what its answers are sampled. Null: by nothing. */
  readonly sampling: Buffer | null
}

export interface ReceiptRow {
  readonly jobId: string
  /** dag-cbor array of wire forms. */
  readonly workers: Buffer
  readonly statement: Buffer
}

/** The codes of {@link payerOrderStage}. */
export const orderCodes = { applied: 0, replayed: 1, outsideWindow: 2 } as const

/** Orders the pool signed: each is for the job it names. */
export const orderStage: Stage<OrderRow> = {
  name: 'orders',
  alwaysApplies: true,
  async apply(tx, rows) {
    await insertOrders(tx, rows)
    return rows.map(() => orderCodes.applied)
  },
}

/**
 * Orders that payers signed: each is honoured once, and its sequence number must be new and not lie
 * {@link jobsLimits.orderWindow} or more below the greatest one of its key.
 */
export const payerOrderStage: Stage<OrderRow> = {
  name: 'payer_orders',
  async apply(tx, rows) {
    const highs = await lockWindows(tx, rows)
    const known = await knownOrders(tx, rows)
    const codes = rows.map((row) => decide(row, highs, known))
    const fresh = rows.filter((row, n) => codes[n] === orderCodes.applied && known.get(keyOf(row))?.stored !== true)
    if (fresh.length > 0) {
      await insertOrders(tx, fresh)
      await raiseWindows(tx, highs)
    }
    return codes
  },
}

interface KnownOrder {
  readonly jobId: string
  readonly hash: Buffer
  readonly stored: boolean
}

const keyOf = (row: { payer: Buffer; seq: number | null }) => `${row.payer.toString('hex')} ${row.seq}`

/** One row after the other, as if each came alone. */
function decide(row: OrderRow, highs: Map<string, number>, known: Map<string, KnownOrder>): number {
  const before = known.get(keyOf(row))
  if (before) {
    const same = before.jobId === row.jobId && before.hash.equals(row.hash)
    return same ? orderCodes.applied : orderCodes.replayed
  }
  const payer = row.payer.toString('hex')
  const seq = row.seq ?? 0
  const high = highs.get(payer) ?? -1
  if (seq <= high - jobsLimits.orderWindow) return orderCodes.outsideWindow
  highs.set(payer, Math.max(high, seq))
  known.set(keyOf(row), { jobId: row.jobId, hash: row.hash, stored: false })
  return orderCodes.applied
}

async function lockWindows(tx: Tx, rows: readonly OrderRow[]): Promise<Map<string, number>> {
  const payers = [...new Set(rows.map((row) => row.payer.toString('hex')))].sort().map((hex) => Buffer.from(hex, 'hex'))
  await tx`
    insert into payer_windows (payer, high)
    select payer, -1 from unnest(${bytes(payers)}::bytea[]) as p (payer) order by payer
    on conflict do nothing`
  const found = await tx<{ payer: Buffer; high: string }[]>`
    select payer, high::text as high from payer_windows
     where payer = any(${bytes(payers)}::bytea[]) order by payer for update`
  return new Map(found.map((row) => [row.payer.toString('hex'), Number(row.high)]))
}

/** Orders with these sequence numbers that are on record. */
async function knownOrders(tx: Tx, rows: readonly OrderRow[]): Promise<Map<string, KnownOrder>> {
  const found = await tx<{ payer: Buffer; seq: string; job_id: string; hash: Buffer }[]>`
    select o.payer, o.seq::text as seq, o.job_id, o.hash
      from unnest(${bytes(rows.map((row) => row.payer))}::bytea[], ${bigints(rows.map((row) => row.seq))}::bigint[])
             as asked (payer, seq)
      join orders o on o.payer = asked.payer and o.seq = asked.seq`
  return new Map(
    found.map((row) => [
      keyOf({ payer: row.payer, seq: Number(row.seq) }),
      { jobId: row.job_id, hash: row.hash, stored: true },
    ]),
  )
}

async function raiseWindows(tx: Tx, highs: ReadonlyMap<string, number>): Promise<void> {
  const payers = [...highs.keys()].map((hex) => Buffer.from(hex, 'hex'))
  await tx`
    update payer_windows w set high = greatest(w.high, h.high)
      from unnest(${bytes(payers)}::bytea[], ${bigints([...highs.values()])}::bigint[]) as h (payer, high)
     where w.payer = h.payer`
}

async function insertOrders(tx: Tx, rows: readonly OrderRow[]): Promise<void> {
  await tx`
    insert into orders (job_id, hash, wire, payer, seq, sampling)
    select * from unnest(
      ${uuids(rows.map((row) => row.jobId))}::uuid[], ${bytes(rows.map((row) => row.hash))}::bytea[],
      ${bytes(rows.map((row) => row.wire))}::bytea[], ${bytes(rows.map((row) => row.payer))}::bytea[],
      ${bigints(rows.map((row) => row.seq))}::bigint[], ${bytes(rows.map((row) => row.sampling))}::bytea[])
    on conflict (job_id) do nothing`
}

/** Receipts of jobs that ended. One of a job is written once. */
export const receiptStage: Stage<ReceiptRow> = {
  name: 'receipts',
  alwaysApplies: true,
  async apply(tx, rows) {
    await tx`
      insert into receipts (job_id, workers, statement)
      select * from unnest(
        ${uuids(rows.map((row) => row.jobId))}::uuid[], ${bytes(rows.map((row) => row.workers))}::bytea[],
        ${bytes(rows.map((row) => row.statement))}::bytea[])
      on conflict (job_id) do nothing`
    return rows.map(() => 0)
  },
}
