import { formatCredits, type Refusal } from '#protocol'
import { type BudgetLeft, type LedgerCode, ledgerCodeName } from './ledger-op.ts'

/** A key's requests of the minute are used up: said by the ledger, and by who knows that it would. */
export function minuteUsedUp(retryAfterMs: number): Refusal {
  return {
    code: 'rate_limit_exceeded',
    message: "The key's requests of this minute are used up.",
    fix: `Wait for the next minute, which begins in ${Math.ceil(retryAfterMs / 1_000)} s.`,
    retryAfterMs,
  }
}

/**
 * What to tell who asked. `now` in milliseconds since 1970; `left` as the hold's `onRefused` was told.
 * @throws Error for the codes that only our own mistake can bring about.
 */
export function ledgerRefusal(code: number, left: BudgetLeft | undefined, now: number): Refusal {
  const minute = { retryAfterMs: Math.max(1, (left?.minuteResetsAt ?? now + 60_000) - now) }
  const day = { retryAfterMs: Math.max(1, (left?.dayResetsAt ?? now + 3_600_000) - now) }
  const still = (amount: bigint | null | undefined) =>
    amount === null || amount === undefined ? '' : `: ${formatCredits(amount)} credits are left`
  const refusals: { readonly [code in LedgerCode]?: Refusal } = {
    rate_requests: minuteUsedUp(minute.retryAfterMs),
    rate_tokens: {
      code: 'token_rate_exceeded',
      message: `The key's tokens of this minute do not suffice${left?.tokens === null || left?.tokens === undefined ? '' : `: ${left.tokens} are left`}.`,
      fix: 'Ask for fewer tokens, or wait for the next minute.',
      ...minute,
    },
    budget_day: {
      code: 'budget_exceeded',
      message: `The key's budget for this UTC day does not cover what the request may cost${still(left?.day)}.`,
      fix: 'Ask for fewer tokens, or wait for the next day.',
      ...day,
    },
    budget_total: {
      code: 'budget_exceeded',
      message: `The key's budget does not cover what the request may cost${still(left?.total)}.`,
      fix: 'Ask for fewer tokens, or let the owner raise the budget.',
    },
    insufficient_credit: {
      code: 'insufficient_credit',
      message: `The account does not have what the request may cost${still(left?.available)}.`,
      fix: 'Ask for fewer tokens, or let an admin grant credits with `lichen grant`.',
    },
    unknown_account: {
      code: 'not_found',
      message: 'There is no such account.',
      fix: 'See `lichen ledger balance` for those there are.',
    },
    conflict: {
      code: 'ledger_conflict',
      message: 'The id of this transfer was used for another one.',
      fix: 'Use a fresh id.',
    },
  }
  const name = ledgerCodeName(code)
  const refusal = refusals[name]
  if (!refusal) throw new Error(`the ledger refused with ${name}`)
  return refusal
}
