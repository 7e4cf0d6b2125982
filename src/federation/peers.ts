import { importPublicKey, type PublicKeyHandle } from '#crypto'
import { type PoolId, parsePoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import type { EnvelopeVersion } from './envelope.ts'
import { federationLimits } from './limits.ts'
import type { KnownKey } from './verify-envelope.ts'

export interface Peer extends KnownKey {
  readonly id: PoolId
  readonly key: PublicKeyHandle
  readonly trust: number
  readonly name: string
  readonly url: string
  /** What it is called in: 2 once it said, or showed, that it speaks it. */
  readonly version: EnvelopeVersion
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
}

/** The known pools, in memory as they stand in the table: who signs garbage costs no query. */
export class Peers implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #known = new Map<PoolId, Peer>()
  readonly #stops: (() => void)[] = []

  private constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
  }

  /** `onProblem`: the table could not be read again; asked again within a second. */
  static async open(database: Database, runtime: Runtime, onProblem: (error: unknown) => void): Promise<Peers> {
    const peers = new Peers(database, runtime)
    await peers.#read()
    const again = () => void peers.#read().catch(onProblem)
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

  get full(): boolean {
    return this.#known.size >= federationLimits.peersMax
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
    await this.#read()
  }

  /** From now on it is not heard in version 1. */
  async markV2(id: PoolId): Promise<void> {
    const now = new Date(this.#runtime.now())
    await this.#database
      .sql`update peers set spoke_v2_at = ${now}, changed_at = ${now} where id = ${id} and spoke_v2_at is null`
    await this.#read()
  }

  /** It says, under its own name and address, that it speaks version 2; it is called in it from now on. */
  async markOffersV2(id: PoolId): Promise<void> {
    const now = new Date(this.#runtime.now())
    await this.#database
      .sql`update peers set offers_v2_at = ${now}, changed_at = ${now} where id = ${id} and offers_v2_at is null`
    await this.#read()
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

  async #read(): Promise<void> {
    const rows = await this.#database.sql<Row[]>`
      select id, public_key, trust, revoked_at is not null as revoked, spoke_v2_at is not null as spoke_v2,
          offers_v2_at is not null as offers_v2, name, url
        from peers limit ${federationLimits.peersMax}`
    for (const row of rows) {
      const id = parsePoolId(row.id)
      if (!id) throw new Error(`the table of peers holds ${row.id}`)
      const key = this.#known.get(id)?.key ?? importPublicKey(Buffer.from(row.public_key))
      const { trust, revoked, name, url, spoke_v2: spokeV2 } = row
      const version = spokeV2 || row.offers_v2 ? 2 : 1
      this.#known.set(id, { id, key, trust, revoked, spokeV2, name, url, version })
    }
  }
}
