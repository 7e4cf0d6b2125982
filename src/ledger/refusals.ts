import { formatCredits, type Refusal } from '#protocol'
import { type BudgetLeft, type HoldOp, type LedgerCode, ledgerCodeName } from './ledger-op.ts'

/** A key's requests of the minute are used up: said by the ledger, and by who knows that it would. */
export function minuteUsedUp(retryAfterMs: number): Refusal {
  return {
    code: 'rate_limit_exceeded',
    message: "The key's requests of this minute are used up.",
    fix: `Wait for the next minute, which begins in ${Math.ceil(retryAfterMs / 1_000)} s.`,
    retryAfterMs,
  }
}

/** What a request may use at most, and its key's budget. */
type Asked = Pick<HoldOp, 'amount' | 'budget'>

/** The request asks for more than a whole minute or day of its key has: it may come as late as it likes. */
function tooMuch(name: LedgerCode, { amount, budget }: Asked): Refusal | undefined {
  if (name === 'rate_tokens' && budget && budget.tokens > (budget.tokensPerMinute ?? budget.tokens)) {
    return {
      code: 'token_rate_exceeded',
      message: `The request may use ${budget.tokens} tokens, and the key no more than ${budget.tokensPerMinute} in a minute.`,
      fix: 'Ask for fewer tokens, or let the owner raise the limit.',
      final: true,
    }
  }
  if (name === 'budget_day' && budget && amount > (budget.perDay ?? amount)) {
    return {
      code: 'budget_exceeded',
      message: `The request may cost ${formatCredits(amount)} credits, and the key spend no more than ${formatCredits(budget.perDay ?? 0n)} on one UTC day.`,
      fix: 'Ask for fewer tokens, or let the owner raise the budget.',
      final: true,
    }
  }
  return undefined
}

/**
 * What to tell who asked. `now` in milliseconds since 1970; `left` as the hold's `onRefused` was told; `asked` the hold.
 * @throws Error for the codes that only our own mistake can bring about.
 */
export function ledgerRefusal(code: number, left: BudgetLeft | undefined, now: number, asked?: Asked): Refusal {
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
  const refusal = (asked && tooMuch(name, asked)) ?? refusals[name]
  if (!refusal) throw new Error(`the ledger refused with ${name}`)
  return refusal
}
