import { PoolError } from '#protocol'
import type { Sql, Tx } from '#storage'
import type { AccountKind } from './account-name.ts'
import type { TransferKind, TransferPhase } from './ledger-op.ts'
import { ledgerLimits } from './limits.ts'

/** An account and what it has. Amounts in micro-credits. */
export interface AccountBalance {
  readonly name: string
  readonly kind: AccountKind
  /** Raw public key of its owner, where known. */
  readonly key: Buffer | null
  readonly posted: bigint
  readonly held: bigint
  /** What may still be spent or reserved: posted − held; less than that never is. */
  readonly available: bigint
  readonly entries: number
}

export interface Counterparty {
  readonly account: string
  readonly key: Buffer | null
  /** What it paid or was paid in this transfer. */
  readonly amount: bigint
}

/** One change of one account. */
export interface HistoryEntry {
  /** Counts the account's entries from 1. */
  readonly seq: number
  readonly at: number
  readonly transfer: string
  readonly phase: TransferPhase
  readonly kind: TransferKind
  /** Below 0: paid. */
  readonly amount: bigint
  /** Of the account, after it. */
  readonly balance: bigint
  /** The hold it was paid from. */
  readonly hold: string | null
  /** The signed bytes of a grant or payment. */
  readonly authorisation: Buffer | null
  /** Everybody else: for who pays those who were paid, for who is paid the payer. */
  readonly counterparties: readonly Counterparty[]
}

export interface OpenHoldRow {
  readonly id: string
  readonly account: string
  readonly amount: bigint
  readonly expiresAt: number
  readonly key: string | null
  readonly tokens: number
}

const limitOf = (limit: number | undefined) => Math.max(1, Math.min(limit ?? 100, ledgerLimits.pageRowsMax))

interface StoredBalance extends Omit<AccountBalance, 'available' | 'entries'> {
  readonly seq: bigint
}
const toBalance = ({ name, kind, key, posted, held, seq }: StoredBalance): AccountBalance => {
  return { name, kind, key, posted, held, available: posted - held, entries: Number(seq) }
}

/** @throws PoolError not_found. */
export async function readBalance(sql: Sql | Tx, name: string): Promise<AccountBalance> {
  const [row] = await sql<StoredBalance[]>`
    select name, kind, key_of(a) as key, posted, held, seq from accounts a where name = ${name}`
  if (!row) throw new PoolError('not_found', `There is no account ${name}.`, 'See `lichen ledger balance`.')
  return toBalance(row)
}

/** In order of name; the next page begins behind the last name of this one. */
export async function readBalances(sql: Sql, page: { after?: string; limit?: number }): Promise<AccountBalance[]> {
  const rows = await sql<StoredBalance[]>`
    select name, kind, key_of(a) as key, posted, held, seq from accounts a
     where name > ${page.after ?? ''} order by name limit ${limitOf(page.limit)}`
  return rows.map(toBalance)
}

interface StoredEntry extends Omit<HistoryEntry, 'seq' | 'counterparties'> {
  readonly seq: bigint
  readonly names: string[]
  readonly keys: (Buffer | null)[]
  readonly amounts: bigint[]
}

/** Entries of an account with `from` ≤ seq < `to`, oldest first or newest first. */
export async function readEntries(
  sql: Sql,
  account: string,
  range: { from?: bigint | number; to?: bigint | number; limit: number; newestFirst?: boolean },
): Promise<HistoryEntry[]> {
  const order = sql.unsafe(range.newestFirst ? 'desc' : 'asc')
  const rows = await sql<StoredEntry[]>`
    select e.seq, e.at, e.transfer, t.phase, t.kind, e.amount, e.balance, t.hold, t.authorisation, c.names, c.keys, c.amounts
      from accounts a
      join entries e on e.account = a.id
      join transfers t on t.id = e.transfer
      cross join lateral (
        select array_agg(o.name order by o.n) as names, array_agg(o.key order by o.n) as keys,
               array_agg(o.amount order by o.n) as amounts
          from (select p.name, key_of(p) as key, t.amount, 0 as n from accounts p where p.id = t.debit and t.debit <> a.id
                union all
                select p.name, key_of(p), t.credits[n][2], n
                  from generate_series(1, coalesce(array_length(t.credits, 1), 0)) n
                  join accounts p on p.id = t.credits[n][1]
                 where t.debit = a.id) o) c
     where a.name = ${account} and e.seq >= ${range.from ?? 0} and e.seq < ${range.to ?? Number.MAX_SAFE_INTEGER}
     order by e.seq ${order} limit ${range.limit}`
  return rows.map(({ names, keys, amounts, seq, ...entry }) => ({
    ...entry,
    seq: Number(seq),
    counterparties: (names ?? []).map((name, n) => ({ account: name, key: keys[n] ?? null, amount: amounts[n] ?? 0n })),
  }))
}

/** Newest first; the next page ends `before` the last seq of this one. @throws PoolError not_found. */
export async function readHistory(
  sql: Sql,
  account: string,
  page: { before?: number; limit?: number },
): Promise<HistoryEntry[]> {
  const range = { ...(page.before === undefined ? {} : { to: page.before }), limit: limitOf(page.limit) }
  const entries = await readEntries(sql, account, { ...range, newestFirst: true })
  if (entries.length === 0) await readBalance(sql, account)
  return entries
}

/** Open holds in order of id, of one account or all. */
export async function readHolds(
  sql: Sql,
  page: { account?: string; after?: string; limit?: number },
): Promise<OpenHoldRow[]> {
  const rows = await sql<(Omit<OpenHoldRow, 'tokens'> & { tokens: bigint })[]>`
    select h.id, a.name as account, h.amount, h.expires_at as "expiresAt", h.key, h.tokens
      from holds h join accounts a on a.id = h.account
     where h.id > ${page.after ?? '00000000-0000-0000-0000-000000000000'}
       and (${page.account ?? null}::text is null or a.name = ${page.account ?? null})
     order by h.id limit ${limitOf(page.limit)}`
  return rows.map((row) => ({ ...row, tokens: Number(row.tokens) }))
}
