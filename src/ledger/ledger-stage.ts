import type { Stage } from '#storage'
import { decideAll, isValid } from './decide.ts'
import { type LedgerOp, ledgerCodes } from './ledger-op.ts'
import { readBooks } from './read-books.ts'
import { writeBooks } from './write-books.ts'

/**
 * The ledger's part of a flush: locks and reads, decides in memory, writes. Operations count in the order given, so a
 * batch is what the same operations are one after the other, and a refused one costs nobody else anything. Two pool
 * processes wait for each other at the first account both touch. Codes: {@link ledgerCodes}.
 */
export const ledgerStage: Stage<LedgerOp> = {
  name: 'ledger',
  asksOnce: true,
  async apply(tx, ops, atCommit) {
    const valid = ops.filter(isValid)
    if (valid.length === 0) return ops.map(() => ledgerCodes.invalid)
    const books = await readBooks(tx, valid)
    const codes = decideAll(books, valid)
    if (books.transfers.length > 0) atCommit((later) => writeBooks(later, books))
    if (valid.length === ops.length) return codes
    let next = 0
    return ops.map((op) => (op === valid[next] ? (codes[next++] ?? ledgerCodes.invalid) : ledgerCodes.invalid))
  },
}
