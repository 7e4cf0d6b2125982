import type { Leg } from './ledger-op.ts'

/** Who gets how much of a charge, in hundredths (money: split of a charge). */
export const chargeShares = { worker: 60, executor: 20, origin: 10, treasury: 10 } as const

/** One segment that is paid: whose, and how many tokens of the answer it made. */
export interface PaidSegment {
  /** `held:<WorkerId>`, or where the pool keeps its earnings. */
  readonly account: string
  readonly tokens: number
}

export interface ChargeSplit {
  /** Micro-credits. */
  readonly amount: bigint
  readonly segments: readonly PaidSegment[]
  /** The pool that executed; this one unless given. */
  readonly executor?: string
  /** The pool whose user asked; the executor unless given. */
  readonly origin?: string
  /** The amount is another pool's payment for what was computed here: only worker and executor share it. */
  readonly lent?: boolean
}

/**
 * Credit legs of a charge: they sum to `amount` exactly, none is 0, one for each account. The worker's part is shared
 * by segments in proportion to their tokens (equally when there are none); without any segment it goes to the refund
 * reserve.
 */
export function splitCharge({
  amount,
  segments,
  executor = 'pool',
  origin = executor,
  lent = false,
}: ChargeSplit): Leg[] {
  const { worker: work, executor: run, origin: ask, treasury: keep } = chargeShares
  const own = executor === origin
  const weights = lent ? [work, run, 0, 0] : own ? [work, run + ask, 0, keep] : [work, run, ask, keep]
  const [worker = 0n, executing = 0n, originating = 0n, treasury = 0n] = apportion(amount, weights.map(BigInt))
  const paid = segments.length > 0 ? segments : [{ account: 'refund_reserve', tokens: 1 }]
  const counted = paid.some((segment) => segment.tokens > 0)
  const parts = apportion(
    worker,
    paid.map((segment) => (counted ? BigInt(segment.tokens) : 1n)),
  )
  const sums = new Map<string, bigint>()
  const pay = (account: string, part: bigint) => {
    if (part > 0n) sums.set(account, (sums.get(account) ?? 0n) + part)
  }
  paid.forEach((segment, n) => {
    pay(segment.account, parts[n] ?? 0n)
  })
  pay(executor, executing)
  pay(origin, originating)
  pay('treasury', treasury)
  return [...sums].map(([account, part]) => ({ account, amount: part }))
}

/** Micro-credits a token. */
interface TokenPrices {
  readonly prompt: bigint
  readonly completion: bigint
}

/** Of a price per token, what the pool that computes it gets for its worker and itself; whole micro-credits, so that both pools count the same. */
export function executorPrices({ prompt, completion }: TokenPrices): TokenPrices {
  const part = BigInt(chargeShares.worker + chargeShares.executor)
  return { prompt: (prompt * part) / 100n, completion: (completion * part) / 100n }
}

export interface BorrowedSplit extends Pick<ChargeSplit, 'amount' | 'segments'> {
  /** What other pools computed, and where each is owed for it. */
  readonly borrowed: readonly {
    readonly account: string
    readonly promptTokens: number
    readonly completionTokens: number
  }[]
  readonly prices: TokenPrices
}

const least = (a: bigint, b: bigint) => (a < b ? a : b)

/**
 * Legs of a charge of which other pools computed a part: each is owed its tokens at {@link executorPrices}, exactly as it counts them itself;
 * the rest of that part is shared by this pool, which was asked, and the treasury; the other part as always.
 */
export function splitBorrowed({ amount, segments, borrowed, prices }: BorrowedSplit): Leg[] {
  const owed = executorPrices(prices)
  const sums = new Map<string, bigint>()
  const pay = ({ account, amount: part }: Leg) => {
    if (part > 0n) sums.set(account, (sums.get(account) ?? 0n) + part)
  }
  let left = amount
  for (const { account, promptTokens, completionTokens } of borrowed) {
    const at = (price: TokenPrices) => BigInt(promptTokens) * price.prompt + BigInt(completionTokens) * price.completion
    const full = least(at(prices), left)
    const due = least(at(owed), full)
    const [asked = 0n, kept = 0n] = apportion(full - due, [BigInt(chargeShares.origin), BigInt(chargeShares.treasury)])
    pay({ account, amount: due })
    pay({ account: 'pool', amount: asked })
    pay({ account: 'treasury', amount: kept })
    left -= full
  }
  if (left > 0n) for (const leg of splitCharge({ amount: left, segments })) pay(leg)
  return [...sums].map(([account, part]) => ({ account, amount: part }))
}

/**
 * Shares of a whole in proportion to weights, by largest remainder (Hamilton's method); of equal remainders the earlier
 * one gets the unit. The shares sum to the whole. At least one weight must be above 0.
 */
export function apportion(whole: bigint, weights: readonly bigint[]): bigint[] {
  const sum = weights.reduce((total, weight) => total + weight, 0n)
  const shares = weights.map((weight) => (whole * weight) / sum)
  const short = Number(whole - shares.reduce((total, share) => total + share, 0n))
  const byRemainder = weights
    .map((weight, n) => ({ n, remainder: (whole * weight) % sum }))
    .sort((a, b) => (a.remainder === b.remainder ? a.n - b.n : a.remainder > b.remainder ? -1 : 1))
  for (const { n } of byRemainder.slice(0, short)) shares[n] = (shares[n] ?? 0n) + 1n
  return shares
}
