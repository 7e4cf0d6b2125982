import { AdminRequests } from '#federation'
import { goodAdminKeys } from '#identity'
import { EventJournal } from '#observability'
import type { PoolId } from '#protocol'
import { Breakers } from '#reputation'
import { systemRuntime } from '#runtime'
import type { Database } from '#storage'
import { pendingSlashes, Standings } from '#verification'
import { sendTo } from '../bin/open-admin-requests.ts'
import { FederatedPool } from './federated-pool.ts'

/** A pool whose human is asked by others: the boxes, what a reset clears, and a clock that can be put forward. */
export class AskingPool implements AsyncDisposable {
  readonly pool: FederatedPool
  readonly requests: AdminRequests
  readonly journal: EventJournal
  readonly breakers: Breakers
  readonly standings: Standings
  /** Which kinds are let in at the door. */
  readonly lets = { read: true, write: true }
  readonly problems: unknown[] = []
  /** Milliseconds that its boxes are ahead of the world. */
  ahead = 0

  readonly #rules: { readonly quorum: number; readonly v1Writers: string[] }
  readonly #onProblem = (error: unknown) => this.problems.push(error)

  private constructor(
    pool: FederatedPool,
    breakers: Breakers,
    standings: Standings,
    quorum: number,
    v1Writers: string[],
  ) {
    this.pool = pool
    this.breakers = breakers
    this.standings = standings
    const { database } = pool.db
    this.#rules = { quorum, v1Writers }
    this.journal = new EventJournal({ database, runtime: systemRuntime, onProblem: this.#onProblem })
    this.requests = this.boxes(database)
    for (const [path, route] of Object.entries(this.requests.routes)) pool.federation.serve(path, route)
  }

  /** The same boxes, as another process of the pool has them. */
  boxes(database: Database): AdminRequests {
    const { pool, breakers, standings } = this
    return new AdminRequests({
      database,
      runtime: { ...systemRuntime, now: () => this.now() },
      poolId: pool.id,
      peers: pool.federation.peers,
      toggles: { allows: (name) => name !== 'accept' && name !== 'forward' && this.lets[name] },
      ...this.#rules,
      adminKeys: goodAdminKeys,
      events: async (query) => {
        await this.journal.flush()
        return this.journal.read(query)
      },
      pendingSlashes: (tx) => pendingSlashes(tx, 1_000),
      reset: async (tx) => ({ circuits: await breakers.resetAll(tx), posteriors: await standings.resetPosteriors(tx) }),
      send: (id, path, body, signal) => sendTo(pool.federation, id, path, body, signal),
      onEvent: () => {},
      onProblem: this.#onProblem,
    })
  }

  /** `v1Writers`: filled later, where ids are not known yet. */
  static async open(name: string, { quorum = 1, v1Writers = [] as string[] } = {}): Promise<AskingPool> {
    const pool = await FederatedPool.open(name)
    const { database } = pool.db
    const quiet = { onEvent: () => {}, onChange: () => {}, onProblem: () => {} }
    const breakers = await Breakers.open({ database, runtime: systemRuntime, ...quiet })
    const standings = await Standings.open({ database, runtime: systemRuntime })
    await pool.db.sql`update federation_toggles set is_on = true where name = 'write'`
    return new AskingPool(pool, breakers, standings, quorum, v1Writers)
  }

  now(): number {
    return systemRuntime.now() + this.ahead
  }

  /** What a human here allows another pool. */
  async bond(id: string, level = 3): Promise<void> {
    const { office, peers } = this.pool.federation
    const trust = peers.get(id as PoolId)?.trust ?? 0
    if (level > trust && level >= 3) await this.pool.bond(id, level as 3 | 4)
    else if (level > trust) await office.promote(id, level, 'owner.key')
    else await office.demote(id, level, 'owner.key')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.requests[Symbol.asyncDispose]()
    await this.journal[Symbol.asyncDispose]()
    this.breakers[Symbol.dispose]()
    this.standings[Symbol.dispose]()
    await this.pool[Symbol.asyncDispose]()
  }
}
