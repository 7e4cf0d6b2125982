/**
 * The life of money that a job may cost:
 *
 *   hold ──▶ pending ──▶ posted     post: part of it (or all, or nothing) is paid, the rest is free again
 *                   ├──▶ voided     void: all of it is free again
 *                   └──▶ expired    expire: the same, because nobody came back in time
 *
 * Everything else is one step: direct.
 */
export type TransferPhase = 'pending' | 'posted' | 'voided' | 'expired' | 'direct'

/** What a transfer is for. Who authorises each: {@link transferKinds}. */
export type TransferKind = 'charge' | 'grant' | 'bootstrap' | 'payment' | MoveKind

/** What the pool itself moves, by a rule or after a conviction. */
export type MoveKind = 'release' | 'slash' | 'refund' | 'restitution'

/** One who is paid, and how much: micro-credits, more than 0. */
export interface Leg {
  readonly account: string
  readonly amount: bigint
}

/** What an API key may use, asked for together with a hold. Null: no limit. */
export interface BudgetAsk {
  /** The API key's id. */
  readonly key: string
  /** Micro-credits, ever. */
  readonly total: bigint | null
  /** Micro-credits in one UTC day. */
  readonly perDay: bigint | null
  /** In one minute of the UTC clock. */
  readonly requestsPerMinute: number | null
  readonly tokensPerMinute: number | null
  /** Tokens this request may use at most, prompt and answer together. */
  readonly tokens: number
}

/** What is left after an operation; null where there is no limit. Times in milliseconds since 1970. */
export interface BudgetLeft {
  /** Micro-credits the account may still spend or reserve. */
  readonly available: bigint
  readonly total: bigint | null
  readonly day: bigint | null
  readonly dayResetsAt: number
  readonly requests: number | null
  readonly tokens: number | null
  /** When `requests` and `tokens` are whole again. */
  readonly minuteResetsAt: number
}

/** Reserves what a job may cost at most, in the account and in the key's budget. */
export interface HoldOp {
  readonly op: 'hold'
  readonly id: string
  readonly account: string
  readonly amount: bigint
  readonly expiresAt: number
  readonly at: number
  readonly budget: BudgetAsk | null
  /** Told within the flush, before the commit; again if the flush is tried again. True once the submit resolves. */
  onApplied?(left: BudgetLeft): void
  /** The same when the hold was refused for want of credit, of an account that could have any, or of budget. */
  onRefused?(left: BudgetLeft): void
}

/** Pays out of a hold and releases the rest. */
export interface PostOp {
  readonly op: 'post'
  /** The transfer's id. */
  readonly id: string
  readonly hold: string
  /** At most what is held; 0 is a free job. */
  readonly amount: bigint
  /** Sum = amount. Accounts of workers, pools and the like are made when they are missing. */
  readonly legs: readonly Leg[]
  /** Counted; of the reserved ones the rest is free again. */
  readonly tokens: number
  readonly kind: 'charge'
  readonly at: number
}

/** Releases a hold whole. `expire` only from the hold's `expiresAt` on. */
export interface ReleaseOp {
  readonly op: 'void' | 'expire'
  readonly id: string
  readonly hold: string
  readonly at: number
}

/** Moves money at once. Grants come out of `issuance`; payments go from user to user or into an operator's stake. */
export interface TransferOp {
  readonly op: 'transfer'
  readonly id: string
  readonly kind: 'grant' | 'bootstrap' | 'payment' | MoveKind
  readonly from: string
  readonly to: string
  readonly amount: bigint
  readonly at: number
  /** The signed message in wire form; whoever submits has verified it. Without one the transfer is `invalid`. */
  readonly authorisation: Buffer | null
}

export type LedgerOp = HoldOp | PostOp | ReleaseOp | TransferOp

/**
 * Why an operation was refused. 0 also for one that was applied before: same id, same body (`at` aside: the first
 * stands).
 */
export const ledgerCodes = {
  applied: 0,
  /** The id is another transfer's, or a pool's second bootstrap. */
  conflict: 1,
  unknown_account: 2,
  unknown_hold: 3,
  /** Posted, voided or expired before, under another id. */
  hold_resolved: 4,
  amount_over_hold: 5,
  insufficient_credit: 6,
  budget_total: 7,
  budget_day: 8,
  rate_requests: 9,
  rate_tokens: 10,
  /** Our own mistake: an amount out of range, legs that do not sum, a grant without signature, an expiry too early. */
  invalid: 11,
} as const

export type LedgerCode = keyof typeof ledgerCodes

/** The name of a code. */
export function ledgerCodeName(code: number): LedgerCode {
  const entry = Object.entries(ledgerCodes).find(([, value]) => value === code)
  return (entry?.[0] ?? 'invalid') as LedgerCode
}
