import { accountKind } from './account-name.ts'
import type { Account, Books, NewTransfer, OpenHold } from './books.ts'
import { budgetAfterHold, budgetLeft, releaseBudget } from './budget.ts'
import {
  type HoldOp,
  type LedgerOp,
  ledgerCodes,
  type PostOp,
  type ReleaseOp,
  type TransferKind,
  type TransferOp,
} from './ledger-op.ts'
import { ledgerLimits } from './limits.ts'
import { transferKinds } from './transfer-kinds.ts'
import { rowOf, sameTransfer, type TransferRow } from './transfer-leaf.ts'

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const keyId = /^[A-Za-z0-9:_-]{1,100}$/
const isTime = (at: number) => Number.isSafeInteger(at) && at >= 0 && at < 8_640_000_000_000_000
const isAmount = (amount: bigint) => amount >= 0n && amount <= ledgerLimits.amountMax
const isCount = (tokens: number) => Number.isSafeInteger(tokens) && tokens >= 0 && tokens <= ledgerLimits.tokensMax

/**
 * Applies operations ({@link isValid} ones) to the books, one after the other. A refused one changes nothing. Codes:
 * {@link ledgerCodes}.
 */
export function decideAll(books: Books, ops: readonly LedgerOp[]): number[] {
  return ops.map((op) => decide(books, op))
}

/** Whether the operation makes sense at all, whatever the books say. */
export function isValid(op: LedgerOp): boolean {
  if (!uuid.test(op.id) || !isTime(op.at)) return false
  if (op.op === 'hold') return isAmount(op.amount) && validHold(op)
  if (op.op === 'transfer') return validTransfer(op)
  if (!uuid.test(op.hold) || op.hold === op.id) return false
  return op.op !== 'post' || validPost(op)
}

const mayPay = (kind: TransferKind, account: string) => transferKinds[kind].from.includes(accountKind(account) ?? '')
const mayBePaid = (kind: TransferKind, account: string) => transferKinds[kind].to.includes(accountKind(account) ?? '')

function validHold({ account, at, expiresAt, budget }: HoldOp): boolean {
  if (!mayPay('charge', account)) return false
  if (!isTime(expiresAt) || expiresAt <= at || expiresAt - at > ledgerLimits.holdMsMax) return false
  return budget === null || (keyId.test(budget.key) && isCount(budget.tokens))
}

function validPost({ amount, legs, tokens }: PostOp): boolean {
  if (!isAmount(amount) || !isCount(tokens) || legs.length > ledgerLimits.legsMax) return false
  if (legs.some((leg) => leg.amount <= 0n || !mayBePaid('charge', leg.account))) return false
  return legs.reduce((sum, leg) => sum + leg.amount, 0n) === amount
}

function validTransfer({ kind, from, to, amount, authorisation }: TransferOp): boolean {
  if (amount <= 0n || !isAmount(amount) || from === to) return false
  if (!authorisation || authorisation.length > ledgerLimits.authorisationBytesMax) return false
  return mayPay(kind, from) && mayBePaid(kind, to)
}

function decide(books: Books, op: LedgerOp): number {
  const before = books.known.get(op.id)
  if (before) return again(books, op, before)
  if (op.op === 'hold') return hold(books, op)
  return op.op === 'transfer' ? transfer(books, op) : resolve(books, op)
}

/** An id that was used before: by this operation, or by another one. */
function again(books: Books, op: LedgerOp, before: TransferRow): number {
  if (!sameTransfer(rowOf(op), before)) return ledgerCodes.conflict
  const account = op.op === 'hold' ? books.accounts.get(op.account) : undefined
  if (op.op === 'hold' && account) {
    const budget = op.budget && books.budgets.get(op.budget.key)
    op.onApplied?.(budgetLeft(op.budget, budget ?? undefined, available(account), op.at))
  }
  return ledgerCodes.applied
}

const available = (account: Account) => account.posted - account.held - account.floor

function hold(books: Books, op: HoldOp): number {
  const account = books.accounts.get(op.account)
  const asked = op.budget && budgetAfterHold(books.budgets.get(op.budget.key), op.budget, op.amount, op.at)
  if (!account) {
    op.onRefused?.(budgetLeft(op.budget, asked?.before, 0n, op.at))
    return ledgerCodes.unknown_account
  }
  const code = asked?.code || (available(account) < op.amount ? ledgerCodes.insufficient_credit : ledgerCodes.applied)
  if (code !== ledgerCodes.applied) {
    op.onRefused?.(budgetLeft(op.budget, asked?.before, available(account), op.at))
    return code
  }
  if (op.budget && asked) {
    books.budgets.set(op.budget.key, asked.after)
    books.changedBudgets.add(op.budget.key)
  }
  account.held += op.amount
  books.changedAccounts.add(account)
  const { id, amount, expiresAt } = op
  const counted = { key: op.budget?.key ?? null, tokens: op.budget?.tokens ?? 0 }
  const window = { day: asked?.after.day ?? 0, minute: asked?.after.minute ?? 0 }
  const open = { id, account, amount, expiresAt, ...counted, ...window }
  books.holds.set(id, open)
  books.opened.set(id, open)
  record(books, { row: rowOf(op), debit: account, credits: [] })
  op.onApplied?.(budgetLeft(op.budget, asked?.after, available(account), op.at))
  return ledgerCodes.applied
}

function resolve(books: Books, op: PostOp | ReleaseOp): number {
  const open = books.holds.get(op.hold)
  if (!open) return wasHold(books, op.hold) ? ledgerCodes.hold_resolved : ledgerCodes.unknown_hold
  if (op.op === 'expire' && op.at < open.expiresAt) return ledgerCodes.invalid
  const legs = op.op === 'post' ? op.legs : []
  if (op.op === 'post' && op.amount > open.amount) return ledgerCodes.amount_over_hold
  const credits = []
  for (const { account: name, amount } of legs) {
    const account = books.accounts.get(name)
    if (!account) return ledgerCodes.unknown_account
    credits.push({ account, amount })
  }
  close(books, open, op.op === 'post' ? op.amount : 0n, op.op === 'post' ? op.tokens : 0)
  record(books, { row: rowOf(op), debit: open.account, credits })
  return ledgerCodes.applied
}

const wasHold = (books: Books, id: string) => books.closed.has(id) || books.known.get(id)?.phase === 'pending'

function close(books: Books, open: OpenHold, amount: bigint, tokens: number): void {
  open.account.held -= open.amount
  books.changedAccounts.add(open.account)
  books.holds.delete(open.id)
  if (!books.opened.delete(open.id)) books.closed.add(open.id)
  const budget = open.key === null ? undefined : books.budgets.get(open.key)
  if (open.key === null || !budget) return
  books.budgets.set(open.key, releaseBudget(budget, open, amount, tokens))
  books.changedBudgets.add(open.key)
}

function transfer(books: Books, op: TransferOp): number {
  const from = books.accounts.get(op.from)
  const to = books.accounts.get(op.to)
  if (!from || !to) return ledgerCodes.unknown_account
  if (op.kind === 'bootstrap' && books.bootstrapped) return ledgerCodes.conflict
  if (available(from) < op.amount) return ledgerCodes.insufficient_credit
  if (op.kind === 'bootstrap') books.bootstrapped = true
  record(books, { row: rowOf(op), debit: from, credits: [{ account: to, amount: op.amount }] })
  return ledgerCodes.applied
}

/** Writes a transfer down, and for what it moves one entry in each account. */
function record(books: Books, transfer: NewTransfer): void {
  const { row, debit, credits } = transfer
  books.transfers.push(transfer)
  books.known.set(row.id, row)
  if (credits.length === 0) return
  enter(books, debit, -row.amount, row)
  for (const { account, amount } of credits) enter(books, account, amount, row)
}

function enter(books: Books, account: Account, amount: bigint, row: { id: string; at: number }): void {
  account.posted += amount
  account.seq += 1
  account.lastAt = Math.max(account.lastAt, row.at)
  books.changedAccounts.add(account)
  const { seq, posted: balance, lastAt: at } = account
  books.entries.push({ account, seq, transfer: row.id, amount, balance, at })
}
