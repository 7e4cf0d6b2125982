import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { type Address, type DatabaseTarget, parseAddress } from './address.ts'
import { type Client, openClient, type Sql, type Tx } from './client.ts'
import { Connection, guardedSql } from './connection.ts'
import { codeOf, databaseError, fromDatabase, isConnectionLoss, isTransient } from './errors.ts'
import { storageLimits } from './limits.ts'
import { type Listener, listen } from './listen.ts'

export type { DatabaseTarget, Sql, Tx }

/** A database in use. Close it when done: its sockets keep the process alive. */
export interface Database extends AsyncDisposable {
  /** Single statements on a few shared connections. Rejects soon when the server is away; see {@link databaseError}. */
  readonly sql: Sql
  /**
   * One transaction on one connection of its own; transactions wait for each other, so keep them short and rare
   * (administration). Tried again after a deadlock or a connection lost before the commit.
   * @throws PoolError database_unavailable; whatever `work` throws, after a rollback.
   */
  transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  /** `onMessage` for every NOTIFY; `onConnected` whenever listening begins (again): what was missed must be read. */
  listen(channel: string, onMessage: (payload: string) => void, onConnected?: () => void): Listener
  /** A connection of one's own, for {@link GroupCommit}. The caller closes it. */
  connect(): Promise<Connection>
  /** One round trip; rejects with `database_unavailable`. */
  ping(): Promise<void>
  /** Ends every connection, running queries first (at most 2 s). Idempotent. */
  end(): Promise<void>
}

export interface OpenOptions {
  readonly target: DatabaseTarget
  readonly runtime: Runtime
  /** Shared connections; {@link storageLimits.connectionsMax} when absent. */
  readonly connectionsMax?: number
  readonly statementTimeoutMs?: number
  /** How long to wait for a server that is starting, milliseconds. */
  readonly waitMs?: number
}

/** @throws PoolError config_invalid, database_unavailable. */
export async function openDatabase(options: OpenOptions): Promise<Database> {
  const database = new PostgresDatabase(parseAddress(options.target), options)
  try {
    await database.greet(options.waitMs ?? 15_000)
    return database
  } catch (error) {
    await database.end()
    throw error
  }
}

/**
 * Shared connections. When one is lost all are replaced: a postgres.js 3.4.9 connection that died while it wrote keeps
 * the half of that write, and never gets through again.
 */
class SharedSql {
  readonly #open: () => Client
  #current: Client | undefined
  #ended = false
  readonly sql: Sql

  constructor(address: Address, max: number, statementTimeoutMs: number) {
    this.#open = () => {
      const { silentConnectionMs: silentMs, idleConnectionMs: idleMs } = storageLimits
      const onLost = () => {
        if (this.#ended) return
        if (this.#current === client) this.#current = undefined
        client.destroy()
      }
      const client: Client = openClient(address, { max, silentMs, idleMs, statementTimeoutMs, onLost })
      return client
    }
    this.sql = guardedSql(() => {
      this.#current ??= this.#open()
      return this.#current.sql
    })
  }

  async end(): Promise<void> {
    this.#ended = true
    this.#current ??= this.#open()
    await this.#current.close(2_000)
  }
}

class PostgresDatabase implements Database {
  readonly #address: Address
  readonly #runtime: Runtime
  readonly #statementTimeoutMs: number
  readonly #shared: SharedSql
  readonly #listeners = new Set<Listener>()
  #writer: Connection | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #waiting = 0
  #ended: Promise<void> | undefined

  constructor(address: Address, options: OpenOptions) {
    this.#address = address
    this.#runtime = options.runtime
    this.#statementTimeoutMs = options.statementTimeoutMs ?? storageLimits.statementTimeoutMs
    this.#shared = new SharedSql(
      address,
      options.connectionsMax ?? storageLimits.connectionsMax,
      this.#statementTimeoutMs,
    )
  }

  get sql(): Sql {
    return this.#shared.sql
  }

  async greet(waitMs: number): Promise<void> {
    const until = this.#runtime.monotonic() + waitMs
    for (;;) {
      try {
        const [row] = await this.sql<{ version: number }[]>`
          select current_setting('server_version_num')::int as version`
        return refuseOldServer(row?.version ?? 0)
      } catch (error) {
        if (!isTransient(error)) throw refuseLogin(error)
        if (this.#runtime.monotonic() >= until) throw databaseError(error)
        await this.#runtime.sleep(200)
      }
    }
  }

  connect(): Promise<Connection> {
    return Connection.open(this.#address, this.#runtime, this.#statementTimeoutMs)
  }

  async ping(): Promise<void> {
    await fromDatabase(this.sql`select 1`)
  }

  async transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    if (this.#waiting >= storageLimits.transactionsWaitingMax) {
      throw new PoolError(
        'overloaded',
        'Too many administrative acts wait for the database.',
        'Try again in a moment.',
        {
          retryAfterMs: 1_000,
        },
      )
    }
    this.#waiting++
    const turn = this.#turn.then(() => this.#transact(work))
    this.#turn = turn.catch(() => {})
    return turn.finally(() => this.#waiting--)
  }

  async #transact<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    const until = this.#runtime.monotonic() + storageLimits.transactionRetryMs
    for (let attempt = 0; ; attempt++) {
      let committing = false
      try {
        if (this.#ended) throw Object.assign(new Error('the database is closed'), { code: 'CONNECTION_ENDED' })
        if (!this.#writer || this.#writer.lost) this.#writer = await this.connect()
        return await this.#writer.transaction(work, () => {
          committing = true
        })
      } catch (error) {
        const unknownOutcome = committing && isConnectionLoss(error)
        const again = isTransient(error) && !unknownOutcome && !this.#ended && this.#runtime.monotonic() < until
        if (!again) throw databaseError(error)
        await this.#runtime.sleep(Math.min(1_000, 25 * 2 ** attempt))
      }
    }
  }

  listen(channel: string, onMessage: (payload: string) => void, onConnected?: () => void): Listener {
    const listener = listen(this.#address, this.#runtime, channel, onMessage, onConnected)
    this.#listeners.add(listener)
    return listener
  }

  end(): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    for (const listener of this.#listeners) listener.stop()
    await this.#turn
    await Promise.all([this.#shared.end(), this.#writer?.close()])
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end()
  }
}

function refuseOldServer(version: number): void {
  if (version >= 150_000) return
  throw new PoolError(
    'config_invalid',
    `The database server is PostgreSQL ${Math.floor(version / 10_000)}; 15 is the oldest that works.`,
    'Give the URL of a PostgreSQL 15 or newer, or none to use the embedded one.',
  )
}

/** Wrong password, user or database (class 28 and 3D of PostgreSQL's error codes), or a certificate not to be trusted. */
function refuseLogin(error: unknown): unknown {
  const said = error instanceof Error ? error.message : 'no reason given'
  if (/^(?:28|3D)/.test(codeOf(error))) {
    return new PoolError(
      'config_invalid',
      `The database server refuses the login: ${said}.`,
      'Check user, password and database of the database URL.',
    )
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/.test(codeOf(error))) {
    return new PoolError(
      'config_invalid',
      `The encrypted connection to the database failed: ${said}.`,
      'Name the authority with sslrootcert=FILE, or choose another sslmode in the database URL.',
    )
  }
  return error
}
