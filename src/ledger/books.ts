import type { SlotMap } from '#runtime'
import type { TransferRow } from './transfer-leaf.ts'

/** An account while a batch is decided. */
export interface Account {
  readonly id: number
  /** How low posted − held may go. */
  readonly floor: bigint
  posted: bigint
  held: bigint
  /** Entries so far, and the time of the last. */
  seq: number
  lastAt: number
}

export interface OpenHold {
  readonly id: string
  readonly account: Account
  readonly amount: bigint
  readonly expiresAt: number
  readonly key: string | null
  readonly tokens: number
  /** UTC day and minute since 1970 in which the budget counted it. */
  readonly day: number
  readonly minute: number
}

/** What a key has used: ever, and in the latest day and minute it was used in. */
export interface Budget {
  spent: bigint
  reserved: bigint
  day: number
  dayUsed: bigint
  minute: number
  requests: number
  tokens: number
}

export interface Entry {
  readonly account: Account
  readonly seq: number
  readonly transfer: string
  readonly amount: bigint
  readonly balance: bigint
  readonly at: number
}

/** A row to be written, and the accounts it names. */
export interface NewTransfer {
  readonly row: TransferRow
  readonly debit: Account
  readonly credits: readonly { readonly account: Account; readonly amount: bigint }[]
}

/** What a pool remembers of the tables: some of the rows, as they are after `batch`. Rows that are not here may exist. */
export interface KeptBooks {
  /** What the database calls the batch written last (`ledger_mark`). */
  readonly batch: string
  readonly accounts: Map<string, Account>
  /** Open ones. */
  readonly holds: SlotMap<string, OpenHold>
  readonly budgets: Map<string, Budget>
  /** Keys that have a row. */
  readonly keys: Set<string>
}

/** All that a batch of operations can touch, locked and read; then changed in memory, then written. */
export interface Books extends KeptBooks {
  /** Transfers that were there before, of the ids the batch names, and those the batch makes. */
  readonly known: Map<string, TransferRow>
  bootstrapped: boolean
  readonly transfers: NewTransfer[]
  readonly entries: Entry[]
  /** Holds of earlier batches that this one resolved. */
  readonly closed: Set<string>
  /** Holds this batch opened and left open. */
  readonly opened: Map<string, OpenHold>
  readonly changedAccounts: Set<Account>
  readonly changedBudgets: Set<string>
}

export const dayMs = 86_400_000
export const minuteMs = 60_000
