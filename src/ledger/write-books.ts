import { bigints, bytes, numbers, type Tx, texts, uuids } from '#storage'
import type { Books } from './books.ts'

/** Writes what was decided: one statement, checked once more by the constraints of the tables. Answers the name of the batch. */
export async function writeBooks(tx: Tx, books: Books): Promise<string> {
  const { entries, transfers } = books
  const accounts = [...books.changedAccounts]
  const opened = [...books.opened.values()]
  const budgets = [...books.changedBudgets].flatMap((key) => {
    const budget = books.budgets.get(key)
    return budget ? [{ key, ...budget }] : []
  })
  const rows = transfers.map(({ row }) => row)
  const newKeys = budgets.flatMap(({ key }) => (books.keys.has(key) ? [] : [key]))
  const [answer] = await tx<{ batch: string }[]>`
    select ledger_write(
      ${books.batch}::uuid, ${numbers(accounts.map((a) => a.id))}::bigint[], ${bigints(accounts.map((a) => a.posted))}::bigint[],
      ${bigints(accounts.map((a) => a.held))}::bigint[], ${numbers(accounts.map((a) => a.seq))}::bigint[],
      ${numbers(accounts.map((a) => a.lastAt))}::bigint[],
      ${uuids(rows.map((r) => r.id))}::uuid[], ${texts(rows.map((r) => r.phase))}::text[],
      ${texts(rows.map((r) => r.kind))}::text[], ${numbers(transfers.map((t) => t.debit.id))}::bigint[],
      ${bigints(rows.map((r) => r.amount))}::bigint[],
      ${pairLists(transfers.map((t) => t.credits.map(({ account, amount }) => `{${account.id},${amount}}`)))}::text[],
      ${sparse(
        uuids,
        rows.map((r) => r.hold),
      )}::uuid[], ${sparse(
        numbers,
        rows.map((r) => r.expiresAt),
      )}::bigint[],
      ${sparse(
        texts,
        rows.map((r) => r.key),
      )}::text[], ${numbers(rows.map((r) => r.tokens))}::bigint[],
      ${numbers(rows.map((r) => r.at))}::bigint[], ${sparse(
        bytes,
        rows.map((r) => r.authorisation),
      )}::bytea[],
      ${numbers(entries.map((e) => e.account.id))}::bigint[], ${numbers(entries.map((e) => e.seq))}::bigint[],
      ${uuids(entries.map((e) => e.transfer))}::uuid[], ${bigints(entries.map((e) => e.amount))}::bigint[],
      ${bigints(entries.map((e) => e.balance))}::bigint[], ${numbers(entries.map((e) => e.at))}::bigint[],
      ${uuids([...books.closed])}::uuid[],
      ${uuids(opened.map((h) => h.id))}::uuid[], ${numbers(opened.map((h) => h.account.id))}::bigint[],
      ${bigints(opened.map((h) => h.amount))}::bigint[], ${numbers(opened.map((h) => h.expiresAt))}::bigint[],
      ${texts(opened.map((h) => h.key))}::text[], ${numbers(opened.map((h) => h.tokens))}::bigint[],
      ${numbers(opened.map((h) => h.day))}::int[], ${numbers(opened.map((h) => h.minute))}::int[],
      ${texts(budgets.map((b) => b.key))}::text[], ${bigints(budgets.map((b) => b.spent))}::bigint[],
      ${bigints(budgets.map((b) => b.reserved))}::bigint[], ${numbers(budgets.map((b) => b.day))}::int[],
      ${bigints(budgets.map((b) => b.dayUsed))}::bigint[], ${numbers(budgets.map((b) => b.minute))}::int[],
      ${numbers(budgets.map((b) => b.requests))}::int[], ${numbers(budgets.map((b) => b.tokens))}::bigint[],
      ${texts(newKeys)}::text[]) as batch`
  if (!answer) throw new Error('ledger_write answered nothing')
  for (const key of newKeys) books.keys.add(key)
  return answer.batch
}

/** `text[]` of array literals: PostgreSQL has no arrays of arrays of different lengths. Digits need no escape. */
const pairLists = (lists: readonly (readonly string[])[]): string =>
  `{${lists.map((pairs) => `"{${pairs.join(',')}}"`).join(',')}}`

/** A column that often holds nothing at all: `unnest` fills a short one up with nulls. */
const sparse = <T>(write: (values: readonly (T | null)[]) => string, values: readonly (T | null)[]): string =>
  values.every((value) => value === null) ? '{}' : write(values)
