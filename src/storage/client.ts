import type { Socket } from 'node:net'
import postgres from 'postgres'
import type { Address } from './address.ts'
import { storageLimits } from './limits.ts'
import { failedSocket, openSocket } from './open-socket.ts'
import { valueTypes } from './value-types.ts'

/**
 * Tagged templates: `` sql`select …` ``. Types: `bigint` columns are `bigint`, `timestamptz` is milliseconds since the
 * epoch both ways, `bytea` is a Buffer, `uuid` a string;
 * arrays of these both ways (as a parameter only arrays of strings and numbers: see `column.ts` for the others). No `begin` and no `reserve`: see {@link Database.transaction}.
 */
export type Sql = postgres.ISql<{ bigint: bigint }>

/** A {@link Sql} inside one transaction; after the connection is lost it only throws. */
export type Tx = Sql

export interface ClientOptions {
  /** Connections. */
  readonly max: number
  /** One connection in all: after its loss every query fails instead of running outside its transaction. */
  readonly once?: boolean
  /** Cuts a connection on which nothing moved during a query, milliseconds; 0 never. */
  readonly silentMs: number
  /** Closes a connection nobody used, milliseconds; 0 never. */
  readonly idleMs: number
  readonly statementTimeoutMs: number
  readonly onNotify?: (channel: string, payload: string) => void
  /** Called in the very turn in which a connection is lost. Not when it is closed for idleness. */
  readonly onLost?: () => void
}

/** One postgres.js instance and its sockets. */
export interface Client {
  readonly sql: Sql
  /** Says goodbye to the server, waits at most `ms` for running queries, then cuts. */
  close(ms: number): Promise<void>
  /** Cuts. What runs and what waits rejects. */
  destroy(): void
}

const lostError = (message: string, code: string) => Object.assign(new Error(message), { code })

export function openClient(address: Address, options: ClientOptions): Client {
  const sockets = new Set<Socket>()
  let opened = 0
  let over = false
  const openTracked = async () => {
    opened++
    if (over || (options.once && opened > 1))
      return failedSocket(lostError('the connection was lost', 'CONNECTION_CLOSED'))
    const socket = await openSocket(address)
    sockets.add(socket)
    let farewell = false
    // before Node answers the server's end with ours: did we say goodbye first?
    socket.prependOnceListener('end', () => {
      farewell = socket.writableEnded
    })
    socket.once('close', () => {
      sockets.delete(socket)
      if (!farewell) options.onLost?.()
    })
    socket.setTimeout(options.silentMs, () => socket.destroy(lostError('the server is silent', 'ETIMEDOUT')))
    return socket
  }
  const settings = {
    // every value is given: postgres.js would take missing ones from PG* variables of the environment
    host: address.host,
    port: address.port,
    user: address.user,
    pass: address.password,
    database: address.database,
    ssl: false,
    max: options.max,
    idle_timeout: options.idleMs / 1_000,
    max_lifetime: null,
    connect_timeout: storageLimits.connectDeadlineMs / 1_000,
    backoff: () => 0,
    keep_alive: 30,
    // postgres.js would ask every connection for array types, and reject nobody's promise when it is lost meanwhile
    fetch_types: false,
    types: valueTypes,
    socket: openTracked,
    onnotice: () => {},
    onnotify: options.onNotify,
    connection: {
      application_name: 'lichen',
      statement_timeout: options.statementTimeoutMs,
      idle_in_transaction_session_timeout: 60_000,
    },
  }
  // `socket` and `onnotify` are read by postgres.js 3.4.9 but missing from its types
  const sql = postgres(settings as unknown as postgres.Options<{ bigint: postgres.PostgresType<bigint> }>)
  return {
    // the narrower type hides what is not safe after a lost connection
    sql: sql as unknown as Sql,
    async close(ms) {
      await sql.end({ timeout: ms / 1_000 })
      this.destroy()
    },
    destroy() {
      over = true
      for (const socket of sockets) socket.destroy(lostError('closed here', 'CONNECTION_ENDED'))
      // rejects what waits for a connection
      void sql.end({ timeout: 0 })
    },
  }
}
