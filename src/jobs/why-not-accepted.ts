import { type BudgetLeft, type HoldOp, ledgerCodes, ledgerRefusal, ledgerStage } from '#ledger'
import { PoolError, type Refusal } from '#protocol'
import type { Outcome } from '#storage'
import { inProgress } from './idempotency.ts'
import { orderCodes, payerOrderStage } from './order-stages.ts'

// Who has no account has nothing.
const { unknown_account, insufficient_credit } = ledgerCodes

/** A request that was not accepted, with what is left of its key's budget where the ledger said no. */
export class NotAccepted extends PoolError {
  readonly left: BudgetLeft | undefined

  constructor(refusal: Refusal, left: BudgetLeft | undefined) {
    super(refusal.code, refusal.message, refusal.fix, refusal)
    this.left = left
  }
}

/** What a request is told whose acceptance was refused in the database. */
export function whyNotAccepted(
  { stage, code }: Outcome & { applied: false },
  left: BudgetLeft | undefined,
  now: number,
  hold: HoldOp,
): Refusal {
  if (stage === ledgerStage.name) {
    return ledgerRefusal(code === unknown_account ? insufficient_credit : code, left, now, hold)
  }
  if (stage === payerOrderStage.name) return code === orderCodes.replayed ? replayed : outsideWindow
  return inProgress
}

const replayed: Refusal = {
  code: 'order_replayed',
  message: 'This order, or another with its sequence number, was honoured before.',
  fix: 'Sign a new order for every request.',
}

const outsideWindow: Refusal = {
  code: 'order_replayed',
  message: 'The sequence number of the order lies too far below those this payer key has used.',
  fix: 'Count up: orders may overtake each other by 4,096 at most.',
}
