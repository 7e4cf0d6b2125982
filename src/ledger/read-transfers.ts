import { type Sql, uuids } from '#storage'
import type { TransferKind, TransferPhase } from './ledger-op.ts'
import { ledgerLimits } from './limits.ts'
import type { TransferRow } from './transfer-leaf.ts'

interface Stored {
  readonly id: string
  readonly phase: TransferPhase
  readonly kind: TransferKind
  readonly payer: string
  readonly amount: bigint
  readonly payees: string[]
  readonly amounts: bigint[]
  readonly hold: string | null
  readonly expires: number | null
  readonly key: string | null
  readonly tokens: bigint
  readonly at: number
  readonly authorisation: Buffer | null
}

/** Columns of {@link Stored} from `transfers t`. A pair that names no account reads as an empty name. */
const columns = `t.id, t.phase, t.kind, payer.name as payer, t.amount, t.hold, t.expires_at as expires, t.key, t.tokens,
  t.at, t.authorisation,
  array(select coalesce(a.name, '') from generate_series(1, coalesce(array_length(t.credits, 1), 0)) n
          left join accounts a on a.id = t.credits[n][1] order by n) as payees,
  array(select t.credits[n][2] from generate_series(1, coalesce(array_length(t.credits, 1), 0)) n order by n) as amounts`

function toRow(stored: Stored): TransferRow {
  const { id, phase, kind, payer: from, amount, payees, amounts, hold, expires, key, at, authorisation } = stored
  const to = payees.map((account, n) => ({ account, amount: amounts[n] ?? 0n }))
  const tokens = Number(stored.tokens)
  return { id, phase, kind, from, amount, to, hold, expiresAt: expires, key, tokens, at, authorisation }
}

/** Stored transfers of these ids. */
export async function readTransfers(sql: Sql, ids: readonly string[]): Promise<Map<string, TransferRow>> {
  const rows = await sql<Stored[]>`
    select ${sql.unsafe(columns)} from transfers t join accounts payer on payer.id = t.debit
     where t.id = any (${uuids(ids)}::uuid[])`
  return new Map(rows.map((row) => [row.id, toRow(row)]))
}

/** Transfers that resolve these holds, by the hold. */
export async function readResolutions(sql: Sql, holds: readonly string[]): Promise<Map<string, TransferRow>> {
  const rows = await sql<Stored[]>`
    select ${sql.unsafe(columns)} from transfers t join accounts payer on payer.id = t.debit
     where t.hold = any (${uuids(holds)}::uuid[])`
  return new Map(rows.map((row) => [row.hold ?? '', toRow(row)]))
}

/** Slashes into the reserve that are older than `until` (milliseconds since 1970), newest first. Convictions are rare. */
export async function scanSlashes(sql: Sql, until: number): Promise<TransferRow[]> {
  const rows = await sql<Stored[]>`
    select ${sql.unsafe(columns)} from transfers t join accounts payer on payer.id = t.debit
     where t.kind in ('slash', 'refund', 'restitution') and t.kind = 'slash' and payer.name <> 'refund_reserve'
       and t.at <= ${until}::timestamptz
     order by t.at desc limit ${ledgerLimits.takenRowsMax}`
  return rows.map(toRow)
}

/** Slashes, refunds and restitutions whose signed words hold these bytes, oldest first: those about one worker, and hardly another. */
export async function scanTaken(sql: Sql, worker: Buffer): Promise<TransferRow[]> {
  const rows = await sql<Stored[]>`
    select ${sql.unsafe(columns)} from transfers t join accounts payer on payer.id = t.debit
     where t.kind in ('slash', 'refund', 'restitution') and position(${worker}::bytea in t.authorisation) > 0
     order by t.at, t.id limit ${ledgerLimits.takenRowsMax}`
  return rows.map(toRow)
}

/** One page of all transfers in order of id, from behind `after` on (null: from the first); of one phase when it is given. */
export async function scanTransfers(
  sql: Sql,
  after: string | null,
  limit: number,
  phase?: TransferPhase,
): Promise<TransferRow[]> {
  const rows = await sql<Stored[]>`
    select ${sql.unsafe(columns)} from transfers t join accounts payer on payer.id = t.debit
     where ${after === null ? sql`true` : sql`t.id > ${after}`} ${phase === undefined ? sql`` : sql`and t.phase = ${phase}`} order by t.id limit ${limit}`
  return rows.map(toRow)
}
