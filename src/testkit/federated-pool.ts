import type { ApiDeps } from '#api'
import { generateIdentity, type Identity } from '#crypto'
import { Federation, PeerAdminKeys, type SignedAcceptance, signAcceptance } from '#federation'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { ApiDouble } from './api-double.ts'
import { type TestDatabase, testDatabase } from './test-database.ts'

type Options = Parameters<typeof Federation.open>[0]

/** Hosts on loopback that pools of a test may call. */
export const loopbackHosts: string[] = []

/** This machine is one network; a test puts others into `x-forwarded-for`. */
const networkOf = ({ forwardedFor = '192.0.2' }: { readonly forwardedFor?: string | undefined }) => forwardedFor

/** A pool that speaks with others: its own key, its own database, real sockets on loopback, and no workers. */
export class FederatedPool implements AsyncDisposable {
  readonly identity: Identity
  /** The key of its admin, which lies with that human. */
  readonly admin: Identity
  readonly db: TestDatabase
  readonly federation: Federation
  readonly url: string
  readonly calledBack: object[]
  readonly changes: object[]
  readonly #name: string
  readonly #api: ApiDouble
  readonly #switch: TestSwitch

  private constructor(
    name: string,
    parts: Pick<FederatedPool, 'identity' | 'admin' | 'db' | 'federation' | 'url' | 'calledBack' | 'changes'>,
    api: ApiDouble,
    off: TestSwitch,
  ) {
    this.#name = name
    this.identity = parts.identity
    this.admin = parts.admin
    this.db = parts.db
    this.federation = parts.federation
    this.url = parts.url
    this.calledBack = parts.calledBack
    this.changes = parts.changes
    this.#api = api
    this.#switch = off
  }

  static async open(
    name: string,
    more: Partial<Options> = {},
    successions: readonly string[] = [],
    admin: Identity = generateIdentity(systemRuntime),
  ): Promise<FederatedPool> {
    return FederatedPool.#on(await testDatabase(), name, more, successions, admin)
  }

  /** One more process of this pool: the same key and database, a connection, a memory and a door of its own. */
  async another(more: Partial<Options> = {}, successions: readonly string[] = []): Promise<FederatedPool> {
    const database = await openDatabase({ target: this.db.target, runtime: systemRuntime })
    const drop = () => database.end()
    const db = { ...this.db, database, sql: database.sql, drop, [Symbol.asyncDispose]: drop }
    return FederatedPool.#on(db, this.#name, { identity: this.identity, ...more }, successions, this.admin)
  }

  static async #on(
    db: TestDatabase,
    name: string,
    more: Partial<Options>,
    successions: readonly string[],
    admin: Identity,
  ): Promise<FederatedPool> {
    const identity = more.identity ?? generateIdentity(systemRuntime)
    const off = new TestSwitch()
    const calledBack: object[] = []
    const changes: object[] = []
    const late: { federation?: Federation } = {}
    const door = () => late.federation as Federation
    const api = await ApiDouble.open({
      logReader: { successions: async () => successions } as ApiDeps['logReader'],
      federation: {
        info: () => door().info(),
        directory: (page) => door().directory(page),
        turnAway: ({ head, bodyBytes, ...origin }) => door().turnAway(head, bodyBytes, networkOf(origin)),
        answer: (request, origin) => door().answer(request, networkOf(origin)),
      },
    })
    loopbackHosts.push(new URL(api.url).host)
    late.federation = await Federation.open({
      database: db.database,
      runtime: systemRuntime,
      poolId: identity.id as PoolId,
      identity,
      adminKeys: async () => new Map([[admin.id, admin.publicKey]]),
      mode: 'active',
      name,
      url: api.url,
      capabilities: () => [],
      killSwitch: off,
      policy: { httpHosts: loopbackHosts, privateRanges: ['127.0.0.0/8'] },
      networkOf: () => networkOf({}),
      publish: true,
      load: () => ({ running: 0, waiting: 0, slots: 1 }),
      onTrust: (change) => changes.push(change),
      onReach: () => {},
      onHeard: () => {},
      onCalledBack: (event) => calledBack.push(event),
      onProblem: (error) => {
        throw error
      },
      ...more,
    })
    const parts = { identity, admin, db, federation: door(), url: api.url, calledBack, changes }
    return new FederatedPool(name, parts, api, off)
  }

  get id(): PoolId {
    return this.identity.id as PoolId
  }

  /** As another pool calls it. */
  as(version: 1 | 2) {
    return { url: this.url, known: { id: this.id, key: this.identity.publicKey, version } }
  }

  /** Its admin's word on a bond, as `lichen fed promote` signs it on the admin's machine. */
  accepts(receiver: string, level: 3 | 4 = 3, admin = this.admin): SignedAcceptance {
    return signAcceptance(admin, { giver: this.id, receiver: receiver as PoolId, level }, systemRuntime.now())
  }

  /** Its human promotes another pool to a bond. */
  async bond(other: string, level: 3 | 4 = 3, by = 'owner.key') {
    return this.federation.office.promote(other, level, by, this.accepts(other, level))
  }

  /** Its human knows the other pool's admin, and registers that key. */
  knowsAdminOf({ id, admin }: FederatedPool): Promise<void> {
    return this.knowsAdmin(id, admin.publicKey)
  }

  async knowsAdmin(pool: string, publicKey: Buffer): Promise<void> {
    const keys = new PeerAdminKeys(this.db.database, systemRuntime, (peer) => this.federation.office.tryBond(peer))
    await keys.add(pool, { name: 'their admin', publicKey }, 'owner.key')
  }

  kill(on = true): void {
    this.#switch.flip(on)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.federation[Symbol.dispose]()
    await this.#api[Symbol.asyncDispose]()
    await this.db.drop()
  }
}

class TestSwitch {
  #on = false
  readonly #running = new Set<(why: 'killed') => void>()
  whyOff = async () => (this.#on ? ('killed' as const) : undefined)

  register(abort: (why: 'killed') => void): () => void {
    this.#running.add(abort)
    return () => void this.#running.delete(abort)
  }

  flip(on: boolean): void {
    this.#on = on
    if (on) for (const abort of [...this.#running]) abort('killed')
  }
}
