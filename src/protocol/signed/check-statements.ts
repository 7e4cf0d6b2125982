import { checkSideBySide, isSideBySide } from './check-side-by-side.ts'
import { checkBill, checkOrderOf, checkWorkers } from './receipt-checks.ts'
import { type ReceiptMessages, type ReceiptParts, readMessages } from './receipt-file.ts'
import type { SignatureChecker } from './signature-checker.ts'

/** What order and statements of a job say, when they fit together; else the first thing that does not. */
export type StatementsVerdict =
  | { readonly ok: true; readonly messages: ReceiptMessages }
  | { readonly ok: false; readonly sentence: string }

/**
 * The checks of a receipt file that need no file: who ordered, who signed for each segment, why answers computed side by side were shown, and the bill. Pure; never throws. That order and
 * statement are those of the log, the caller knows.
 */
export function checkStatements(
  parts: Pick<ReceiptParts, 'order' | 'workers' | 'statement' | 'poolKey'>,
  checker: SignatureChecker,
): StatementsVerdict {
  const { poolKey, order, workers, statement } = parts
  const read = readMessages({ order, workers, statement, verdicts: [] })
  if (!read.ok) return { ok: false, sentence: read.problem }
  const facts = { ...read.value, poolKey, checker }
  const aside = isSideBySide(facts.statement) ? [checkSideBySide] : []
  for (const check of [checkOrderOf, checkWorkers, ...aside, checkBill]) {
    const result = check(facts)
    if ('problem' in result) return { ok: false, sentence: result.problem.sentence }
  }
  return { ok: true, messages: read.value }
}
