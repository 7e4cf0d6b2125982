import type { Runtime } from '#runtime'
import { withDeadline } from '#runtime'
import type { Address } from './address.ts'
import { type Client, openClient, type Tx } from './client.ts'
import { databaseLate } from './errors.ts'
import { storageLimits } from './limits.ts'

/** One statement, sent before the function waits for anything but microtasks. */
export type Statement = (tx: Tx) => Promise<unknown>

/**
 * One connection for transactions, used once: when it is lost it stays lost and the owner opens another.
 *
 * postgres.js's own `begin` answers a lost connection with a rollback on a null socket, which ends the process.
 */
export class Connection {
  readonly #client: Client
  #lost = false
  /** A commit is on its way: what is sent now would stand outside the transaction. */
  #sealed = false
  /** For statements inside {@link transaction}. */
  readonly tx: Tx

  private constructor(address: Address, statementTimeoutMs: number) {
    this.#client = openClient(address, {
      max: 1,
      once: true,
      silentMs: 0,
      idleMs: 0,
      statementTimeoutMs,
      onLost: () => {
        this.#lost = true
      },
    })
    this.tx = guardedSql(() => {
      if (this.#lost) throw Object.assign(new Error('the connection was lost'), { code: 'CONNECTION_CLOSED' })
      if (this.#sealed) throw new Error('a statement was sent after its transaction')
      return this.#client.sql
    }, forgetful)
  }

  /** Opens and proves the connection; rejects with the driver's error. */
  static async open(address: Address, runtime: Runtime, statementTimeoutMs: number): Promise<Connection> {
    const connection = new Connection(address, statementTimeoutMs)
    try {
      const proof = connection.tx`select 1`.execute()
      await withDeadline(runtime, storageLimits.connectDeadlineMs, databaseLate('accept a connection'), proof)
      return connection
    } catch (error) {
      connection.destroy()
      throw error
    }
  }

  get lost(): boolean {
    return this.#lost
  }

  /**
   * `begin`, the work, `commit`. Anything thrown rolls back and is thrown again. `onCommit` is told just before the
   * commit is sent: from there on a lost connection means that nobody knows the outcome.
   */
  async transaction<T>(work: (tx: Tx) => Promise<T>, onCommit?: () => void): Promise<T> {
    const begun = this.tx.unsafe('begin').execute()
    // sent in one packet with the first statement of the work; its failure shows there or here
    begun.catch(() => {})
    try {
      const result = await work(this.tx)
      await begun
      onCommit?.()
      await this.tx.unsafe('commit')
      return result
    } catch (error) {
      await this.#rollback()
      throw error
    }
  }

  /**
   * A transaction whose last statements, answered by `work`, travel in one packet with the commit. One statement alone
   * needs no transaction around it.
   */
  async flush(work: (tx: Tx) => Promise<readonly Statement[]>): Promise<void> {
    let begun = false
    // nothing is sent for work that has nothing but last statements
    const first = guardedSql(() => {
      if (!begun)
        this.tx
          .unsafe('begin')
          .execute()
          .catch(() => {})
      begun = true
      return this.tx
    })
    try {
      const last = await work(first)
      if (!begun && last.length === 1) return void (await last[0]?.(this.tx))
      if (last.length > 0 || begun) await this.#finish(first, last)
    } catch (error) {
      if (begun) await this.#rollback()
      throw error
    }
  }

  async #finish(first: Tx, last: readonly Statement[]): Promise<void> {
    let broken = false
    const answers = last.map((statement) => statement(first))
    for (const answer of answers) answer.catch(() => (broken = true))
    // A tagged query leaves some microtasks after it is awaited; the commit must not overtake it.
    await new Promise((resolve) => setImmediate(resolve))
    // One that failed before it sent anything must not leave the others committed.
    const end = this.tx.unsafe(broken ? 'rollback' : 'commit').execute()
    this.#sealed = true
    try {
      const [ended, ...rest] = await Promise.allSettled([end, ...answers])
      for (const answer of rest) if (answer.status === 'rejected') throw answer.reason
      if (ended.status === 'rejected') throw ended.reason
      if (ended.value.command !== 'COMMIT') throw new Error('the transaction was rolled back')
    } finally {
      this.#sealed = false
    }
  }

  async #rollback(): Promise<void> {
    if (this.#lost) return
    try {
      await this.tx.unsafe('rollback')
    } catch {
      this.destroy()
    }
  }

  destroy(): void {
    this.#lost = true
    this.#client.destroy()
  }

  close(): Promise<void> {
    return this.#client.close(1_000)
  }
}

/** A `sql` that asks `current` for the real one at every use. `made` sees each query before anybody else. */
export function guardedSql(current: () => Tx, made: (query: unknown) => unknown = (query) => query): Tx {
  // the proxy answers for whatever the real one is; its own target is never called
  return new Proxy((() => {}) as unknown as Tx, {
    apply: (_target, _self, args) => made(Reflect.apply(current(), undefined, args)),
    get: (_target, name) => Reflect.get(current(), name),
  })
}

/** What postgres.js (3.4.9) keeps in a query. */
interface DriverQuery {
  resolve(result: unknown): void
  reject(error: unknown): void
  args: unknown
  parameters: unknown
  string: unknown
  signature: unknown
}

/**
 * Lets go of what was sent once it is answered. V8 makes a function that is written where it is assigned to a property among
 * its old objects; every query of postgres.js has two of them, so it stays with all its parameters until the next full
 * collection, as if it were old (decision 0026).
 */
function forgetful(made: unknown): unknown {
  if (!(made instanceof Promise)) return made
  // a query is a promise with its own members, which the types of postgres.js do not tell
  const query = made as unknown as DriverQuery
  query.resolve = andForget(query, query.resolve)
  query.reject = andForget(query, query.reject)
  return made
}

/** Made here, not where it is assigned. */
const andForget = (query: DriverQuery, settle: (value: unknown) => void) => (value: unknown) => {
  query.args = query.parameters = query.string = query.signature = undefined
  settle(value)
}
