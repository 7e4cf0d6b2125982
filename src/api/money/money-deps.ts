import type { Ledger, TransferOp } from '#ledger'
import type { Outcome } from '#storage'

/** What the routes of money need, handed in by the program. */
export interface MoneyDeps {
  readonly ledger: Pick<
    Ledger,
    | 'balance'
    | 'balances'
    | 'history'
    | 'holds'
    | 'statement'
    | 'exportRows'
    | 'ensureAccounts'
    | 'transfer'
    | 'budgetLeft'
    | 'prices'
  >
  /** Applies a transfer together with its leaf in the log: both, or neither. */
  readonly apply: (transfer: TransferOp) => Promise<Outcome>
  /** The pool's own, 32 raw bytes. */
  readonly poolKey: Buffer
}
