import { type Budget, dayMs, minuteMs, type OpenHold } from './books.ts'
import { type BudgetAsk, type BudgetLeft, ledgerCodes } from './ledger-op.ts'

const unused: Budget = { spent: 0n, reserved: 0n, day: 0, dayUsed: 0n, minute: 0, requests: 0, tokens: 0 }

/**
 * A budget as it stands at a time: what a past day or minute used is forgotten. Windows only go forward: a clock that
 * is behind counts in the latest window known.
 */
function inWindow(budget: Budget, at: number): Budget {
  const day = Math.max(budget.day, Math.floor(at / dayMs))
  const minute = Math.max(budget.minute, Math.floor(at / minuteMs))
  if (minute === budget.minute && day === budget.day) return budget
  const today = day === budget.day ? {} : { day, dayUsed: 0n }
  const now = minute === budget.minute ? {} : { minute, requests: 0, tokens: 0 }
  return { ...budget, ...today, ...now }
}

/**
 * The budget with a hold reserved in it, and why it may not be, or 0. What no waiting helps against comes first, then
 * rates: they pass by themselves.
 */
export function budgetAfterHold(
  budget: Budget | undefined,
  ask: BudgetAsk,
  amount: bigint,
  at: number,
): { readonly code: number; readonly before: Budget; readonly after: Budget } {
  const before = inWindow(budget ?? unused, at)
  const after = {
    ...before,
    reserved: before.reserved + amount,
    dayUsed: before.dayUsed + amount,
    requests: before.requests + 1,
    tokens: before.tokens + ask.tokens,
  }
  return { code: whyNever(ask, amount) || whyOver(after, ask), before, after }
}

/** More than a whole minute or day has. */
function whyNever({ tokens, tokensPerMinute, perDay }: BudgetAsk, amount: bigint): number {
  if (tokensPerMinute !== null && tokens > tokensPerMinute) return ledgerCodes.rate_tokens
  if (perDay !== null && amount > perDay) return ledgerCodes.budget_day
  return ledgerCodes.applied
}

function whyOver(after: Budget, ask: BudgetAsk): number {
  if (ask.requestsPerMinute !== null && after.requests > ask.requestsPerMinute) return ledgerCodes.rate_requests
  if (ask.tokensPerMinute !== null && after.tokens > ask.tokensPerMinute) return ledgerCodes.rate_tokens
  if (ask.perDay !== null && after.dayUsed > ask.perDay) return ledgerCodes.budget_day
  if (ask.total !== null && after.spent + after.reserved > ask.total) return ledgerCodes.budget_total
  return ledgerCodes.applied
}

/**
 * A resolved hold gives back what it did not use, in those windows that still count it. A request stays a request.
 */
export function releaseBudget(budget: Budget, hold: OpenHold, amount: bigint, tokens: number): Budget {
  return {
    ...budget,
    spent: budget.spent + amount,
    reserved: budget.reserved - hold.amount,
    dayUsed: budget.day === hold.day ? budget.dayUsed - hold.amount + amount : budget.dayUsed,
    tokens: budget.minute === hold.minute ? budget.tokens - Math.max(0, hold.tokens - tokens) : budget.tokens,
  }
}

const atLeast = <T extends number | bigint>(zero: T, value: T): T => (value < zero ? zero : value)

/** What may still be asked for. */
export function budgetLeft(
  ask: BudgetAsk | null,
  budget: Budget | undefined,
  available: bigint,
  at: number,
): BudgetLeft {
  const { spent, reserved, day, dayUsed, minute, requests, tokens } = inWindow(budget ?? unused, at)
  const of = <T extends number | bigint>(limit: T | null | undefined, used: T, zero: T): T | null =>
    limit === null || limit === undefined ? null : atLeast(zero, (limit - used) as T)
  return {
    available: atLeast(0n, available),
    total: of(ask?.total, spent + reserved, 0n),
    day: of(ask?.perDay, dayUsed, 0n),
    dayResetsAt: (day + 1) * dayMs,
    requests: of(ask?.requestsPerMinute, requests, 0),
    tokens: of(ask?.tokensPerMinute, tokens, 0),
    minuteResetsAt: (minute + 1) * minuteMs,
  }
}
