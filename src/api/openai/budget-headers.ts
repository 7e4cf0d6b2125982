import type { BudgetLeft } from '#ledger'
import { formatCredits } from '#protocol'
import { durationText } from '../duration-text.ts'

/**
 * What is left of a key's limits, in OpenAI's headers for tokens and ours for money. Requests per minute are told by
 * the key's turn. Nothing for a limit the key does not have.
 */
export function budgetHeaders(left: BudgetLeft, nowMs: number): string[] {
  const headers: string[] = []
  if (left.tokens !== null) {
    headers.push('x-ratelimit-remaining-tokens', String(left.tokens))
    headers.push('x-ratelimit-reset-tokens', durationText(Math.max(0, left.minuteResetsAt - nowMs)))
  }
  if (left.total !== null) headers.push('x-lichen-budget-remaining', formatCredits(left.total))
  if (left.day !== null) {
    headers.push('x-lichen-budget-remaining-today', formatCredits(left.day))
    headers.push('x-lichen-budget-reset-today', `${Math.max(0, Math.ceil((left.dayResetsAt - nowMs) / 1_000))}s`)
  }
  return headers
}
