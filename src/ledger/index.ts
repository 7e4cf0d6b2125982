/**
 * Ledger: who owes whom. Accounts, holds, immutable transfers, budgets of API keys, prices.
 *
 * Owns    accounts, transfers, entries, holds, budgets, prices, ledger_mark; what becomes of held earnings.
 * Imports crypto, log, protocol, runtime, storage. Clock by hand: every operation carries its time.
 * Always  every transfer's legs sum to zero; a guarded account never goes below what it holds; a hold resolves once;
 *         the same id is the same transfer; history is only ever added to. Amounts are bigint micro-credits.
 */
export { auditLedger } from './audit.ts'
export { auditAccountKeys, auditAuthorisations } from './audit-authorisations.ts'
export { auditLedgerSince, auditTransferLeaves } from './audit-tail.ts'
export { authorisedBy } from './authorised-by.ts'
export { auditPrices } from './derived-checks.ts'
export { Earnings } from './earnings.ts'
export type { AccountBalance, HistoryEntry, OpenHoldRow } from './history.ts'
export { Ledger } from './ledger.ts'
export type { Leg } from './ledger-op.ts'
export {
  type BudgetLeft,
  type HoldOp,
  type LedgerOp,
  ledgerCodeName,
  ledgerCodes,
  type TransferOp,
} from './ledger-op.ts'
export { ledgerStage } from './ledger-stage.ts'
export { ledgerLimits } from './limits.ts'
export { type Price, priceUnits } from './prices.ts'
export { readResolutions, readTransfers } from './read-transfers.ts'
export { ReferenceLedger } from './reference-model.ts'
export { ledgerRefusal, minuteUsedUp } from './refusals.ts'
export { executorPrices, splitBorrowed, splitCharge } from './split-charge.ts'
export { type Statement, statementCsv } from './statement.ts'
export { type TransferRow, transferLeaf } from './transfer-leaf.ts'
