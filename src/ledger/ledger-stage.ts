import type { Stage } from '#storage'
import type { KeptBooks } from './books.ts'
import { decideAll, isValid } from './decide.ts'
import { type LedgerOp, ledgerCodes } from './ledger-op.ts'
import { ledgerLimits } from './limits.ts'
import { readBooks } from './read-books.ts'
import { writeBooks } from './write-books.ts'

/**
 * What each writer remembers between its flushes. A flush takes it away, and puts it back with the name of the batch it has written: what
 * is remembered is in the database whenever that name is. What was only read may be gone after a failover that kept the name.
 */
const memory = new WeakMap<object, KeptBooks>()

function take(writer: object): KeptBooks | undefined {
  const kept = memory.get(writer)
  memory.delete(writer)
  return kept
}

function keep(writer: object, books: KeptBooks): void {
  const { batch, accounts, holds, budgets, keys } = books
  if (accounts.size + budgets.size > ledgerLimits.rowsKeptMax) return
  memory.set(writer, { batch, accounts, holds, budgets, keys })
}

/**
 * The ledger's part of a flush: locks the books and reads what it does not remember, decides in memory, writes. Operations count in the
 * order given, so a batch is what the same operations are one after the other, and a refused one costs nobody else anything. Pool
 * processes of one database take turns; one that finds another's batch forgets and reads. Codes: {@link ledgerCodes}.
 */
export const ledgerStage: Stage<LedgerOp> = {
  name: 'ledger',
  asksOnce: true,
  async apply(tx, ops, atCommit, _decided, writer) {
    const valid = ops.filter(isValid)
    if (valid.length === 0) return ops.map(() => ledgerCodes.invalid)
    const books = await readBooks(tx, valid, take(writer))
    const codes = decideAll(books, valid)
    if (books.transfers.length > 0)
      atCommit(async (later) => keep(writer, { ...books, batch: await writeBooks(later, books) }))
    if (valid.length === ops.length) return codes
    let next = 0
    return ops.map((op) => (op === valid[next] ? (codes[next++] ?? ledgerCodes.invalid) : ledgerCodes.invalid))
  },
}
