import type { EventQuery, PoolEvent } from '#observability'
import type { PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Sql, Tx } from '#storage'
import type { Called, NotCalled } from './outbound.ts'
import type { Peers } from './peers.ts'
import type { Toggles } from './toggles.ts'

/** One slashing event that has not run its course: a guard's snapshot names it. */
export interface PendingSlash {
  /** `slash`, `freeze`, `tribunal` … */
  readonly what: string
  readonly worker: string
  readonly model: string
  /** Milliseconds since 1970. */
  readonly since: number
}

/** What admin requests need of other rooms; the program hands it in. */
export interface AdminRequestOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly poolId: PoolId
  readonly peers: Pick<Peers, 'get'>
  readonly toggles: Pick<Toggles, 'allows'>
  /** Admins that must sign an approval of a WRITE. */
  readonly quorum: number
  /** Pools that may send a WRITE in version 1, without an admin's signature: the operator named them. */
  readonly v1Writers: readonly string[]
  /** Own admin keys that count now, by id. */
  readonly adminKeys: (sql: Sql) => Promise<ReadonlyMap<string, Buffer>>
  readonly events: (query: EventQuery) => Promise<readonly PoolEvent[]>
  /** Slashing events under way. Nothing can be added to them until the transaction ends. */
  readonly pendingSlashes: (tx: Tx) => Promise<readonly PendingSlash[]>
  /** Clears what a circuit reset clears, and says how much of each. */
  readonly reset: (tx: Tx) => Promise<Readonly<Record<string, number>>>
  /** One signed call to a pool. Never rejects. */
  readonly send: (peer: PoolId, path: string, body: object, signal: AbortSignal) => Promise<Called | NotCalled>
  readonly onEvent: (event: { request: string; peer: PoolId; action: string; what: string }) => void
  readonly onProblem: (error: unknown) => void
}
