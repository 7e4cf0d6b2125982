import { importPublicKey, type PublicKeyHandle } from '#crypto'
import { type PoolId, parsePoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Sql } from '#storage'
import { lendingFrom } from './decide-trust.ts'
import type { EnvelopeVersion } from './envelope.ts'
import { federationLimits } from './limits.ts'
import type { KnownKey } from './verify-envelope.ts'

export interface Peer extends KnownKey {
  readonly id: PoolId
  readonly key: PublicKeyHandle
  readonly trust: number
  readonly name: string
  readonly url: string
  readonly moleculeId: string
  readonly capabilities: readonly object[]
  /** What it is called in: 2 once it said, or showed, that it speaks it. */
  readonly version: EnvelopeVersion
  readonly metAt: number
  /** Who stands in its place since a human confirmed its successor. */
  readonly succeededBy: PoolId | undefined
  /** The bond this pool has accepted, and the one the peer has; 0: none. */
  readonly ourLevel: number
  readonly theirLevel: number
}

/** What a pool says of itself when it shakes hands. */
export interface Introduction {
  readonly name: string
  readonly url: string
  readonly moleculeId: string
  readonly capabilities: readonly object[]
}

interface Row {
  id: string
  public_key: Buffer
  trust: number
  revoked: boolean
  spoke_v2: boolean
  offers_v2: boolean
  name: string
  url: string
  molecule_id: string
  capabilities: object[]
  met_at: number
  our_level: number
  their_level: number
  succeeded_by: string | null
}

/** The known pools, in memory as they stand in the table: who signs garbage costs no query. */
export class Peers implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #known = new Map<PoolId, Peer>()
  readonly #watched = new Map<PoolId, Set<() => void>>()
  readonly #stops: (() => void)[] = []
  #onLending: (peer: Peer) => void = () => {}

  private constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
  }

  /** `onProblem`: the table could not be read again; asked again within a second. */
  static async open(database: Database, runtime: Runtime, onProblem: (error: unknown) => void): Promise<Peers> {
    const peers = new Peers(database, runtime)
    await peers.refresh()
    const again = () => void peers.refresh().catch(onProblem)
    const listener = database.listen('peers', again, again)
    const reading = runtime.every(federationLimits.peersPollMs, again)
    const sweeping = runtime.every(federationLimits.nonceMemoryMs, () => void peers.#sweep().catch(onProblem))
    peers.#stops.push(
      () => listener.stop(),
      () => reading.cancel(),
      () => sweeping.cancel(),
    )
    return peers
  }

  [Symbol.dispose](): void {
    for (const stop of this.#stops.splice(0)) stop()
  }

  get(id: PoolId): Peer | undefined {
    return this.#known.get(id)
  }

  /** By id. */
  list(): Peer[] {
    return [...this.#known.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Whose id begins so; undefined where there is none, or several. */
  find(prefix: string): Peer | undefined {
    const exact = parsePoolId(prefix)
    if (exact) return this.#known.get(exact)
    if (!/^[0-9a-f]{6,63}$/.test(prefix)) return undefined
    const found = [...this.#known.values()].filter(({ id }) => id.startsWith(prefix))
    return found.length === 1 ? found[0] : undefined
  }

  get full(): boolean {
    return this.#known.size >= federationLimits.peersMax
  }

  /** `tell` is called when a known pool may be sent jobs, as it might not before: by a human here, or with another process of the pool. */
  whenLending(tell: (peer: Peer) => void): void {
    this.#onLending = tell
  }

  /** `abort` is called when this pool is revoked, here or in another process. The result forgets it. */
  whileTrusted(id: PoolId, abort: () => void): () => void {
    const watchers = this.#watched.get(id) ?? new Set()
    this.#watched.set(id, watchers.add(abort))
    if (this.#known.get(id)?.revoked) abort()
    return () => {
      watchers.delete(abort)
      if (watchers.size === 0 && this.#watched.get(id) === watchers) this.#watched.delete(id)
    }
  }

  /** Adds a pool with trust 1, or refreshes what a known one says of itself: never its key, its trust or its revocation. */
  async introduce(id: PoolId, key: Buffer, { name, url, moleculeId, capabilities }: Introduction): Promise<void> {
    const now = new Date(this.#runtime.now())
    await this.#database.sql`
      insert into peers (id, public_key, name, url, molecule_id, capabilities, trust, met_at, changed_at)
      values (${id}, ${key}, ${name}, ${url}, ${moleculeId}, ${JSON.stringify(capabilities)}::text::jsonb, 1, ${now}, ${now})
      on conflict (id) do update set name = excluded.name, url = excluded.url, molecule_id = excluded.molecule_id,
        capabilities = excluded.capabilities, changed_at = excluded.changed_at
        where peers.revoked_at is null`
    await this.refresh()
  }

  /**
   * From now on it is not heard in version 1. What one side alone had bonded while version 1 was spoken stands on level 2 until both have
   * accepted.
   */
  async markV2(id: PoolId): Promise<void> {
    const now = new Date(this.#runtime.now())
    await this.#database.sql`update peers set spoke_v2_at = ${now}, changed_at = ${now}, trust = least(trust, 2)
            where id = ${id} and spoke_v2_at is null`
    await this.refresh()
  }

  /** It says, under its own name and address, that it speaks version 2; it is called in it from now on. */
  async markOffersV2(id: PoolId): Promise<void> {
    const now = new Date(this.#runtime.now())
    await this.#database
      .sql`update peers set offers_v2_at = ${now}, changed_at = ${now} where id = ${id} and offers_v2_at is null`
    await this.refresh()
  }

  /** Whether this pool uses the nonce for the first time. */
  async firstUse(id: PoolId, nonce: string): Promise<boolean> {
    const expires = new Date(this.#runtime.now() + federationLimits.nonceMemoryMs)
    const rows = await this.#database.sql`
      insert into nonces (peer_id, nonce, expires_at) values (${id}, ${nonce}, ${expires})
      on conflict do nothing returning nonce`
    return rows.length === 1
  }

  async #sweep(): Promise<void> {
    await this.#database.sql`delete from nonces where expires_at < ${new Date(this.#runtime.now())}`
  }

  /** Reads the table again; who is revoked loses what runs. */
  async refresh(): Promise<void> {
    const rows = await readPeers(this.#database.sql)
    for (const row of rows) {
      const before = this.#known.get(row.id as PoolId)
      const peer = toPeer(row, before?.key)
      this.#known.set(peer.id, peer)
      if (before && before.trust < lendingFrom && peer.trust >= lendingFrom) this.#onLending(peer)
      if (peer.revoked) for (const abort of [...(this.#watched.get(peer.id) ?? [])]) abort()
    }
  }
}

function readPeers(sql: Sql) {
  const level = (byPeer: boolean) => sql`
    coalesce((select max(level) from peer_acceptances a
      where a.peer_id = peers.id and a.by_peer = ${byPeer} and a.withdrawn_at is null), 0)`
  return sql<Row[]>`
    select id, public_key, trust, revoked_at is not null as revoked, spoke_v2_at is not null as spoke_v2,
        offers_v2_at is not null as offers_v2, name, url, molecule_id, capabilities, met_at, succeeded_by,
        ${level(false)} as our_level, ${level(true)} as their_level
      from peers limit ${federationLimits.peersMax}`
}

function toPeer(row: Row, knownKey: PublicKeyHandle | undefined): Peer {
  const id = parsePoolId(row.id)
  if (!id) throw new Error(`the table of peers holds ${row.id}`)
  const { trust, revoked, name, url, capabilities, spoke_v2: spokeV2 } = row
  return {
    id,
    key: knownKey ?? importPublicKey(Buffer.from(row.public_key)),
    trust,
    revoked,
    spokeV2,
    name,
    url,
    moleculeId: row.molecule_id,
    capabilities,
    version: spokeV2 || row.offers_v2 ? 2 : 1,
    metAt: row.met_at,
    succeededBy: (row.succeeded_by && parsePoolId(row.succeeded_by)) || undefined,
    ourLevel: row.our_level,
    theirLevel: row.their_level,
  }
}
