import { acceptPublicKey, sha256 } from '#crypto'
import { insertAct } from '#log'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Sql } from '#storage'
import { findPeer } from './request-rows.ts'

/** The key of an admin of another pool, as a human here knows it. */
export interface PeerAdminKey {
  readonly id: string
  readonly peerId: string
  readonly publicKey: Buffer
  readonly name: string
  readonly addedAt: number
  readonly addedBy: string
  readonly revokedAt: number | null
}

const columns = (sql: Sql) => sql`
  id, peer_id as "peerId", public_key as "publicKey", name, added_at as "addedAt", added_by as "addedBy", revoked_at as "revokedAt"`

/** Admin keys of other pools: registered, listed, revoked for good. Never taken from a message. */
export class PeerAdminKeys {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #onAdded: (peer: PoolId) => Promise<void>

  /** `onAdded` is over before the human is told that the key counts. */
  constructor(database: Database, runtime: Runtime, onAdded: (peer: PoolId) => Promise<void> = async () => {}) {
    this.#database = database
    this.#runtime = runtime
    this.#onAdded = onAdded
  }

  async add(
    peer: string,
    { name, publicKey }: { name: string; publicKey: Buffer },
    actor: string,
  ): Promise<PeerAdminKey> {
    const peerId = await this.#peer(peer)
    const verdict = acceptPublicKey(publicKey)
    const id = sha256(publicKey).toString('hex')
    if (!verdict.ok)
      throw new PoolError(
        'invalid_request',
        `The key is refused: ${verdict.reason}.`,
        'Ask that admin for the right one.',
      )
    if (id === peerId) {
      const fix = 'An admin of that pool makes a key of their own: `lichen admin-key new NAME`.'
      throw new PoolError(
        'invalid_request',
        'That is the key of the pool itself: who holds it would be admin, too.',
        fix,
      )
    }
    const added = await this.#database.transaction(async (tx) => {
      const [made] = await tx<PeerAdminKey[]>`
        insert into peer_admin_keys (peer_id, id, public_key, name, added_at, added_by)
        values (${peerId}, ${id}, ${publicKey}, ${name}, ${this.#runtime.now()}::timestamptz, ${actor})
        on conflict do nothing returning ${columns(tx)}`
      if (!made)
        throw new PoolError(
          'conflict',
          'This key is on the list of that pool already.',
          'A revoked key does not come back.',
        )
      const details = { peer: peerId, name, public_key: publicKey.toString('hex') }
      await insertAct(tx, { actor, action: 'peer_admin_key.add', subject: `admin-key:${id}`, details })
      return made
    })
    await this.#onAdded(peerId)
    return added
  }

  async list(peer: string): Promise<PeerAdminKey[]> {
    const { sql } = this.#database
    const rows = await sql<PeerAdminKey[]>`
      select ${columns(sql)} from peer_admin_keys where peer_id = ${await this.#peer(peer)} order by added_at limit 100`
    return [...rows]
  }

  async revoke(peer: string, id: string, actor: string): Promise<PeerAdminKey> {
    const peerId = await this.#peer(peer)
    return this.#database.transaction(async (tx) => {
      const [key] = await tx<PeerAdminKey[]>`
        select ${columns(tx)} from peer_admin_keys where peer_id = ${peerId} and id = ${id} for update`
      if (!key)
        throw new PoolError('not_found', 'That pool has no such admin key here.', 'See `lichen fed admin-keys`.')
      if (key.revokedAt !== null) return key
      const revokedAt = this.#runtime.now()
      await tx`update peer_admin_keys set revoked_at = ${revokedAt}::timestamptz where peer_id = ${peerId} and id = ${id}`
      await insertAct(tx, {
        actor,
        action: 'peer_admin_key.revoke',
        subject: `admin-key:${id}`,
        details: { peer: peerId },
      })
      return { ...key, revokedAt }
    })
  }

  async #peer(idOrPrefix: string) {
    const peer = await findPeer(this.#database.sql, idOrPrefix)
    if (peer) return peer
    throw new PoolError('not_found', `There is no pool ${idOrPrefix} here.`, 'See `lichen fed ls`.')
  }
}
