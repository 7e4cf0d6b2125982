import { z } from 'zod'
import { sha256 } from '#crypto'
import { insertAct } from '#log'
import { isSuccessionSignedBy, openSuccession, PoolError, type PoolId, parsePoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Tx } from '#storage'
import type { AdminSignature } from './admin-request.ts'
import { bondedFrom } from './decide-trust.ts'
import { federationLimits } from './limits.ts'
import type { Outbound } from './outbound.ts'
import type { Peer, Peers } from './peers.ts'
import type { TrustActs } from './trust-acts.ts'

/** Where every pool says which keys it has had. It is no federation path: it names no peer and stays when federation is off. */
export const successionsPath = '/v1/log/successions'

const shownSchema = z.object({
  data: z.array(z.object({ note: z.string().max(2_000) })).max(federationLimits.successionsMax),
})

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  readonly outbound: Outbound
  readonly peers: Peers
  readonly acts: TrustActs
}

/** A key that a peer's old key has named, which no human here has confirmed. */
export interface PendingSuccessor {
  readonly id: PoolId
  readonly notes: readonly string[]
}

/**
 * Another key in the place of a peer's.
 *
 *   somebody else answers at its address ──▶ its statements, signed by the key that is known ──▶ pending ──human confirms──▶ the peer
 *
 * A statement alone changes nothing: who has stolen the old key can write one, too. Two different successors of one key show that it is in
 * two hands; then, and where an admin key of that pool is registered here, an admin of it must have signed.
 */
export class Successions {
  readonly #o: Options

  constructor(options: Options) {
    this.#o = options
  }

  /** Asks who answers at a peer's address for statements by the key that is known, and keeps them. Undefined: there is none. */
  async look(peer: Peer, signal?: AbortSignal): Promise<PendingSuccessor | undefined> {
    const { outbound, database, runtime } = this.#o
    const ask = { method: 'GET', target: successionsPath, ...(signal ? { signal } : {}) } as const
    const called = await outbound.call({ url: peer.url }, ask)
    const shown = called.ok ? shownSchema.safeParse(called.body) : undefined
    if (!shown?.success) return undefined
    const found = followNotes(
      peer.key.raw,
      shown.data.data.map(({ note }) => note),
    )
    if (!found) return undefined
    await database.sql`
      insert into peer_successions (peer_id, successor_id, notes, seen_at)
      values (${peer.id}, ${found.id}, ${JSON.stringify(found.notes)}::text::jsonb, ${new Date(runtime.now())})
      on conflict (peer_id, successor_id) do nothing`
    return found
  }

  /**
   * A human confirms, with the whole id, which another human has told. `signature`: an admin's acceptance of the bond with the successor, on
   * the level it had; without it the bond waits for one. @throws PoolError not_found, conflict, invalid_request, admin_signature_required.
   */
  async confirm(peer: Peer, successor: string, by: string, signature?: AdminSignature): Promise<PoolId> {
    const { database, peers, runtime, acts } = this.#o
    const id = parsePoolId(successor)
    if (!id)
      throw new PoolError(
        'invalid_request',
        'The successor is named by its whole id, 64 digits.',
        'Get it from the admin of that pool, in person.',
      )
    if (peer.revoked)
      throw new PoolError(
        'conflict',
        `Pool ${peer.id.slice(0, 12)} is revoked, or was followed already.`,
        'See `lichen fed show`.',
      )
    await this.look(peer)
    const to = await database.transaction(async (tx) => {
      const rows = await tx<{ id: string; notes: string[] }[]>`
        select successor_id as id, notes from peer_successions where peer_id = ${peer.id} order by seen_at limit 100`
      const wanted = rows.find((row) => row.id === id)
      const chain = wanted && followNotes(peer.key.raw, wanted.notes)
      if (chain?.id !== id)
        throw new PoolError(
          'not_found',
          `Nothing says that pool ${peer.id.slice(0, 12)} is followed by ${id.slice(0, 12)}.`,
          'The new pool has to run at the known URL: `lichen fed ping` looks. Else revoke the old one and add the new one.',
        )
      await refuseUnsigned(
        tx,
        peer,
        chain.notes,
        rows.some((row) => row.id !== id && !chain.ids.includes(row.id)),
      )
      const now = new Date(runtime.now())
      await takePlace(tx, peer, id, chain.key, now)
      await tx`update peer_successions set confirmed_at = ${now}, confirmed_by = ${by} where peer_id = ${peer.id} and successor_id = ${id}`
      const details = { successor: id, notes: chain.notes.map((note) => sha256(Buffer.from(note)).toString('hex')) }
      await insertAct(tx, { actor: by, action: 'peer.succeed', subject: `pool:${peer.id}`, details })
      return id
    })
    await peers.refresh()
    // the bond goes on once admins of both have accepted it between the ids of now
    if (signature && peer.ourLevel >= bondedFrom && peer.version === 2)
      await acts.promote(to, peer.ourLevel, by, signature)
    return to
  }
}

/** What the humans here are told. */
export const successorText = (peer: Peer, { id }: PendingSuccessor) =>
  `Its key has named a successor, ${id}. Ask its admin in person whether that is so; then: lichen fed confirm ${peer.id.slice(0, 12)} ${id}`

interface Chain extends PendingSuccessor {
  readonly key: Buffer
  /** All that follow, the last one included. */
  readonly ids: readonly string[]
}

/** From a known key along the statements, in whatever order they come; undefined: none begins at it. */
function followNotes(key: Buffer, notes: readonly string[]): Chain | undefined {
  const opened = notes.flatMap((note) => {
    const one = openSuccession(note)
    return one.ok ? [{ note, ...one.succession }] : []
  })
  const way: typeof opened = []
  const ids: string[] = []
  for (let at = key; way.length < opened.length; ) {
    const next = opened.find(({ from }) => from.equals(at))
    if (!next || way.includes(next)) break
    way.push(next)
    ids.push(sha256(next.to).toString('hex'))
    at = next.to
  }
  const last = way.at(-1)
  const id = last && parsePoolId(ids.at(-1) ?? '')
  return last && id && { id, key: last.to, ids, notes: way.map(({ note }) => note) }
}

/** @throws PoolError conflict. */
async function refuseUnsigned(tx: Tx, peer: Peer, notes: readonly string[], contested: boolean): Promise<void> {
  const keys = await tx<{ key: Buffer }[]>`
    select public_key as key from peer_admin_keys where peer_id = ${peer.id} and revoked_at is null`
  const signed = notes.every((note) => keys.some(({ key }) => isSuccessionSignedBy(note, Buffer.from(key))))
  if (keys.length === 0 && contested)
    throw new PoolError(
      'conflict',
      'Its old key has named two different successors: it is in two hands.',
      'Talk to its admin. Then revoke it, and add the new pool with the bundle its admin hands you.',
    )
  if (keys.length > 0 && !signed)
    throw new PoolError(
      'conflict',
      'No admin of that pool whose key is registered here has signed for the successor.',
      'Its admin rotates with `--signed-by`. Else revoke it, and add the new pool with the bundle its admin hands you.',
    )
}

/** The new key stands where the old one stood; the old one counts no more. */
async function takePlace(tx: Tx, peer: Peer, id: PoolId, key: Buffer, now: Date): Promise<void> {
  const [there] = await tx<{ revoked: boolean }[]>`
    select revoked_at is not null as revoked from peers where id = ${id} for update`
  if (there?.revoked) throw new PoolError('conflict', 'The successor was revoked here.', 'That is for good.')
  await tx`
    insert into peers (id, public_key, name, url, molecule_id, capabilities, trust, spoke_v2_at, offers_v2_at, met_at, changed_at)
    select ${id}, ${key}, name, url, molecule_id, capabilities, least(trust, 2), spoke_v2_at, offers_v2_at, ${now}, ${now}
      from peers where id = ${peer.id}
    on conflict (id) do update set trust = greatest(peers.trust, excluded.trust), changed_at = excluded.changed_at,
      spoke_v2_at = coalesce(peers.spoke_v2_at, excluded.spoke_v2_at)`
  if (peer.version === 1) await tx`update peers set trust = greatest(trust, ${peer.trust}) where id = ${id}`
  await tx`
    insert into peer_admin_keys (peer_id, id, public_key, name, added_at, added_by, revoked_at)
    select ${id}, id, public_key, name, added_at, added_by, revoked_at from peer_admin_keys where peer_id = ${peer.id}
    on conflict do nothing`
  await tx`
    insert into token_peers (peer_id, api_key_id, allowed_at, allowed_by)
    select ${id}, api_key_id, allowed_at, allowed_by from token_peers where peer_id = ${peer.id} on conflict do nothing`
  await tx`delete from token_peers where peer_id = ${peer.id}`
  await tx`update peer_acceptances set withdrawn_at = ${now} where peer_id = ${peer.id} and withdrawn_at is null`
  await tx`
    update peers set trust = 0, revoked_at = ${now}, changed_at = ${now}, succeeded_by = ${id} where id = ${peer.id}`
}

/** A pool and those whose place it took. */
export async function placeOf(sql: Tx | Database['sql'], id: PoolId): Promise<readonly string[]> {
  const rows = await sql<{ id: string }[]>`
    with recursive before as (
      select ${id}::text as id union select p.id from peers p join before b on p.succeeded_by = b.id)
    select id from before limit ${federationLimits.successionsMax}`
  return rows.map((row) => row.id)
}
