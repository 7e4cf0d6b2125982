import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, databaseError, type Sql, type Tx } from '#storage'
import { accountKind } from './account-name.ts'
import { auditLedger, type LedgerAudit } from './audit.ts'
import { exportRows } from './export-rows.ts'
import {
  type AccountBalance,
  type HistoryEntry,
  type OpenHoldRow,
  readBalance,
  readBalances,
  readHistory,
  readHolds,
} from './history.ts'
import type { BudgetAsk, BudgetLeft } from './ledger-op.ts'
import { Prices } from './prices.ts'
import { readBudgetLeft } from './read-budget.ts'
import { readTransfers } from './read-transfers.ts'
import { readStatement, type Statement } from './statement.ts'
import type { TransferRow } from './transfer-leaf.ts'

/** Everything about the ledger but the hot path, which is {@link ledgerStage}. */
export class Ledger {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly prices: Prices

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
    this.prices = new Prices(database, runtime)
  }

  /**
   * Makes accounts that are missing, and learns the keys of those that have none.
   * @throws PoolError ledger_conflict when an account has another key; an Error for a name no account may have.
   */
  async ensureAccounts(accounts: readonly { readonly name: string; readonly key?: Buffer | null }[]): Promise<void> {
    for (const { name, key = null } of accounts) {
      const kind = accountKind(name)
      if (!kind) throw new Error(`${name} is no name for an account`)
      const known = await this.#read(async () => {
        const [row] = await this.#database.sql<{ learnt: boolean }[]>`
          select learn_account(${name}, ${kind}, ${key}) as learnt`
        return row?.learnt
      })
      if (!known) {
        throw new PoolError(
          'ledger_conflict',
          `The account ${name} belongs to another key.`,
          'An account keeps its key for good: use another account.',
        )
      }
    }
  }

  /** @throws PoolError not_found, like every method that names an account. */
  balance(name: string, sql: Sql | Tx = this.#database.sql): Promise<AccountBalance> {
    return this.#read(() => readBalance(sql, name))
  }

  /** In order of name, behind `after`. */
  balances(page: { after?: string; limit?: number } = {}): Promise<AccountBalance[]> {
    return this.#read(() => readBalances(this.#database.sql, page))
  }

  /** Newest first, those with a seq below `before`. */
  history(name: string, page: { before?: number; limit?: number } = {}): Promise<HistoryEntry[]> {
    return this.#read(() => readHistory(this.#database.sql, name, page))
  }

  /** Open holds, in order of id behind `after`. */
  holds(page: { account?: string; after?: string; limit?: number } = {}): Promise<OpenHoldRow[]> {
    return this.#read(() => readHolds(this.#database.sql, page))
  }

  /** A transfer as it is kept; undefined when there is none of this id (a UUID in lower case). */
  transfer(id: string): Promise<TransferRow | undefined> {
    return this.#read(async () => (await readTransfers(this.#database.sql, [id])).get(id))
  }

  /** What is left of a key's budget and of the account that pays; nothing is reserved. */
  budgetLeft(account: string, ask: BudgetAsk): Promise<BudgetLeft> {
    return this.#read(() => readBudgetLeft(this.#database.sql, account, ask, this.#runtime.now()))
  }

  /** One UTC day, `YYYY-MM-DD`. @throws PoolError not_found, invalid_request. */
  statement(name: string, day: string): Promise<Statement> {
    return this.#read(() => readStatement(this.#database.sql, name, day))
  }

  /** The whole history as text, piece by piece. */
  exportRows(format: 'jsonl' | 'csv'): AsyncGenerator<string> {
    return exportRows(this.#database.sql, format)
  }

  /** {@link auditLedger} over one state of the database. */
  audit(): Promise<LedgerAudit> {
    return this.#read(async () => {
      const connection = await this.#database.connect()
      try {
        return await connection.transaction(async (tx) => {
          await tx.unsafe('set transaction isolation level repeatable read, read only; set local statement_timeout = 0')
          return auditLedger(tx)
        })
      } finally {
        await connection.close()
      }
    })
  }

  async #read<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw databaseError(error)
    }
  }
}
