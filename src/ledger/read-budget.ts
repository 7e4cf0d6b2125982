import type { Sql } from '#storage'
import type { Budget } from './books.ts'
import { budgetLeft } from './budget.ts'
import type { BudgetAsk, BudgetLeft } from './ledger-op.ts'

interface Row extends Omit<Budget, 'tokens'> {
  readonly available: bigint
  readonly used: boolean
  readonly tokens: bigint
}

/** What is left at a time of a key's budget, and of the account that pays; nothing for an account that is not there. */
export async function readBudgetLeft(sql: Sql, account: string, ask: BudgetAsk, at: number): Promise<BudgetLeft> {
  const [row] = await sql<Row[]>`
    select coalesce((select posted - held - floor from accounts where name = ${account}), 0) as available,
           b.key is not null as used, coalesce(b.spent, 0) as spent, coalesce(b.reserved, 0) as reserved,
           coalesce(b.day, 0) as day, coalesce(b.day_used, 0) as "dayUsed", coalesce(b.minute, 0) as minute,
           coalesce(b.requests, 0) as requests, coalesce(b.tokens, 0) as tokens
      from (select 1) one left join budgets b on b.key = ${ask.key}`
  return budgetLeft(ask, row?.used ? { ...row, tokens: Number(row.tokens) } : undefined, row?.available ?? 0n, at)
}
