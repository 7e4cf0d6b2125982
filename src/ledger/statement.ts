import { PoolError } from '#protocol'
import type { Sql } from '#storage'
import { authorisedBy } from './authorised-by.ts'
import { dayMs } from './books.ts'
import { csv } from './csv.ts'
import { type HistoryEntry, readBalance, readEntries } from './history.ts'
import { ledgerLimits } from './limits.ts'

/** One account's UTC day. */
export interface Statement {
  readonly account: string
  readonly key: Buffer | null
  /** YYYY-MM-DD. */
  readonly day: string
  readonly opening: bigint
  readonly closing: bigint
  /**
   * What happened in between, oldest first, as it is read. Throws when the entries do not lead from opening to closing:
   * somebody changed history.
   */
  readonly pages: () => AsyncGenerator<readonly HistoryEntry[]>
}

/** Start of a day in milliseconds. @throws PoolError invalid_request. */
export function parseDay(day: string): number {
  const start = /^\d{4}-\d\d-\d\d$/.test(day) ? Date.parse(`${day}T00:00:00Z`) : Number.NaN
  if (Number.isFinite(start) && new Date(start).toISOString().startsWith(day)) return start
  throw new PoolError('invalid_request', `${day} is no day.`, 'Write it as YYYY-MM-DD, in UTC.')
}

/** @throws PoolError not_found, invalid_request. */
export async function readStatement(sql: Sql, account: string, day: string): Promise<Statement> {
  const start = parseDay(day)
  const { key } = await readBalance(sql, account)
  const [bounds] = await sql<Bounds[]>`
    select b.from, b.to,
           coalesce((select e.balance from entries e where e.account = b.id and e.seq = b.from - 1), 0) as opening,
           coalesce((select e.balance from entries e where e.account = b.id and e.seq = b.to - 1), 0) as closing
      from (select a.id, first_entry_since(a.id, ${start}) as from, first_entry_since(a.id, ${start + dayMs}) as to
              from accounts a where a.name = ${account}) b`
  if (!bounds) throw new Error(`the account ${account} is gone`)
  const { opening, closing } = bounds
  return { account, key, day, opening, closing, pages: () => readPages(sql, account, bounds) }
}

/** Entries of a day are those with `from` ≤ seq < `to`. */
interface Bounds {
  readonly from: bigint
  readonly to: bigint
  readonly opening: bigint
  readonly closing: bigint
}

async function* readPages(sql: Sql, account: string, { from, to, opening, closing }: Bounds) {
  const limit = ledgerLimits.scanRowsMax
  let balance = opening
  for (let next = from; next < to; ) {
    const page = await readEntries(sql, account, { from: next, to, limit })
    for (const entry of page) {
      balance += entry.amount
      if (BigInt(entry.seq) !== next++ || balance !== entry.balance) {
        throw new Error(`entry ${entry.seq} of ${account} does not follow from the one before it`)
      }
    }
    if (page.length === 0) throw new Error(`entry ${next} of ${account} is missing`)
    yield page
  }
  if (balance !== closing) throw new Error(`the entries of ${account} do not lead to its closing balance`)
}

const head = ['seq', 'at', 'transfer', 'kind', 'amount', 'balance', 'counterparties', 'keys', 'signed_by', 'memo']
const hexOf = (key: Buffer | null | undefined) => key?.toString('hex') ?? ''

/**
 * RFC 4180, piece by piece; first and last line are the balances, keys are hex: no cell begins with a sign. Several
 * counterparties share a cell, `name amount`, split by `;`.
 */
export async function* statementCsv({ account, key, day, opening, closing, pages }: Statement): AsyncGenerator<string> {
  yield csv([head, ['', day, account, 'opening', '', String(opening), '', hexOf(key), '', '']])
  for await (const page of pages()) yield csv(page.map(csvLine))
  yield csv([['', day, account, 'closing', '', String(closing), '', '', '', '']])
}

function csvLine(entry: HistoryEntry): string[] {
  const by = authorisedBy(entry)
  return [
    String(entry.seq),
    new Date(entry.at).toISOString(),
    entry.transfer,
    entry.kind,
    String(entry.amount),
    String(entry.balance),
    entry.counterparties.map((other) => `${other.account} ${other.amount}`).join(';'),
    entry.counterparties.map((other) => hexOf(other.key)).join(';'),
    hexOf(by?.key),
    by?.memo ?? '',
  ]
}
