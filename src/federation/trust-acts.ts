import type { Identity } from '#crypto'
import { insertAct } from '#log'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Sql, Tx } from '#storage'
import {
  type AcceptanceFault,
  type BondLevel,
  isGivenNow,
  type SignedAcceptance,
  signAcceptance,
  whyNotAccepted,
} from './acceptance.ts'
import type { AdminSignature } from './admin-request.ts'
import { peerAdminKeys } from './admin-signatures.ts'
import { bondedFrom, decidePromotion } from './decide-trust.ts'
import type { Peers } from './peers.ts'

export interface TrustChange {
  readonly peer: PoolId
  readonly from: number
  readonly to: number
  /** `owner.key`, `key:<id>`, `self` when it fell by itself. */
  readonly by: string
  readonly why: string
}

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  readonly poolId: PoolId
  /** Keys of admins of this pool that count now, by id; the pool's own is none of them. */
  readonly adminKeys: (sql: Sql) => Promise<ReadonlyMap<string, Buffer>>
  readonly peers: Peers
  readonly onTrust: (change: TrustChange) => void
}

interface Locked {
  trust: number
  revoked: boolean
  v2: boolean
}

/**
 *   unknown ──handshake──▶ 1 known ──▶ 2 trusted ──▶ 3 bonded ──▶ 4 settlement
 *                             ◀───────── demote, or by itself (never below 1)
 *   any ──revoke──▶ 0, for good
 *
 * Up by humans only, each step on record as an act; to 3 and 4 between version 2 pools with the signatures of admins of both.
 */
export class TrustActs {
  readonly #o: Options

  constructor(options: Options) {
    this.#o = options
  }

  /**
   * `signature`: of an admin of this pool, made on the admin's machine; from level 3 on a version 2 pool takes no less. `awaiting`: it takes
   * effect once an admin there has accepted, too. @throws PoolError not_found, conflict, admin_signature_required.
   */
  async promote(
    id: PoolId,
    level: number,
    by: string,
    signature?: AdminSignature,
  ): Promise<{ trust: number; awaiting: boolean }> {
    const { database, peers, runtime } = this.#o
    const decided = await database.transaction(async (tx) => {
      const row = await lock(tx, id)
      const { trust, revoked, v2 } = row
      const theirLevel = await levelOf(tx, id, true)
      const verdict = decidePromotion({ trust, revoked, version: v2 ? 2 : 1, theirLevel }, level)
      if (!verdict.ok) throw verdict.why === 'revoked' ? revokedError(id) : notHigher(trust)
      const given = level >= bondedFrom && v2 ? await this.#given(tx, id, level as BondLevel, signature) : undefined
      if (given && !(await store(tx, id, false, given))) throw usedAlready()
      await setTrust(tx, id, verdict.trust, runtime)
      await insertAct(tx, {
        actor: by,
        action: 'peer.promote',
        subject: `pool:${id}`,
        details: { level, trust: verdict.trust, ...(given ? { admin: given.key_id, signed_at: given.signed_at } : {}) },
      })
      return { from: trust, trust: verdict.trust, awaiting: verdict.awaiting }
    })
    await peers.refresh()
    this.#tell({ peer: id, from: decided.from, to: decided.trust, by, why: `promoted to ${level}` })
    return decided
  }

  /** An admin's acceptance as it was signed. @throws PoolError admin_signature_required. */
  async #given(tx: Tx, receiver: PoolId, level: BondLevel, signature: AdminSignature | undefined) {
    const { adminKeys, poolId: giver, runtime } = this.#o
    const keys = await adminKeys(tx)
    const signed = signature && { ...signature, giver, receiver, level }
    if (signed && isGivenNow(signed, keys, runtime.now())) return signed
    if (keys.size === 0)
      throw new PoolError(
        'admin_signature_required',
        'A bond is accepted by an admin, and this pool has no admin key.',
        `Make one on your own machine: \`lichen admin-key new NAME\`. Then \`lichen fed promote ${receiver.slice(0, 12)} ${level}\` there.`,
      )
    throw new PoolError(
      'admin_signature_required',
      signature
        ? 'The signature is not by an admin of this pool, of now, and for this bond.'
        : 'A bond is accepted with the signature of an admin of this pool.',
      `\`lichen fed promote ${receiver.slice(0, 12)} ${level}\` where an admin key lies; \`lichen admin-key ls\` shows whose count.`,
    )
  }

  /** Down by a human's act; what was accepted beyond `level` counts no more. */
  demote(id: PoolId, level: number, by: string): Promise<void> {
    return this.#lower(id, by, 'peer.demote', 'demoted', ({ trust }) => (level < trust ? level : undefined))
  }

  /** Down by one level without anybody's act, never below 1. */
  lower(id: PoolId, why: string): Promise<void> {
    return this.#lower(id, 'self', 'peer.lower', why, ({ trust }) => (trust > 1 ? trust - 1 : undefined))
  }

  /** Cut off for good: nothing it signs counts, what runs with it ends within a second, here and in every process of the pool. */
  async revoke(id: PoolId, by: string): Promise<void> {
    const { database, peers, runtime } = this.#o
    const from = await database.transaction(async (tx) => {
      const { trust, revoked } = await lock(tx, id)
      if (revoked) return trust
      const now = new Date(runtime.now())
      await tx`update peers set trust = 0, revoked_at = ${now}, changed_at = ${now} where id = ${id}`
      await withdraw(tx, id, 0, now)
      await insertAct(tx, { actor: by, action: 'peer.revoke', subject: `pool:${id}`, details: { from: trust } })
      return trust
    })
    await peers.refresh()
    this.#tell({ peer: id, from, to: 0, by, why: 'revoked' })
  }

  /** A human hears it in version 1 again, after it lost what speaks version 2. */
  async allowV1(id: PoolId, by: string): Promise<void> {
    const { database, peers, runtime } = this.#o
    await database.transaction(async (tx) => {
      await lock(tx, id)
      const now = new Date(runtime.now())
      await tx`update peers set spoke_v2_at = null, offers_v2_at = null, changed_at = ${now}, trust = least(trust, 2) where id = ${id}`
      await withdraw(tx, id, 2, now)
      await insertAct(tx, { actor: by, action: 'peer.allow_v1', subject: `pool:${id}` })
    })
    await peers.refresh()
  }

  /**
   * The word of an admin of another pool, by a key that a human here registered for that pool. It raises trust only to where a human here has
   * raised it before. Undefined: it is kept.
   */
  async theyAccept(signed: SignedAcceptance): Promise<AcceptanceFault | undefined> {
    const { database, peers, runtime, poolId } = this.#o
    const { giver } = signed
    if (signed.receiver !== poolId) return 'signature'
    const { fault, change } = await database.transaction(async (tx) => {
      const { trust, revoked } = await lock(tx, giver)
      const fault = revoked ? 'unknown_admin' : whyNotAccepted(signed, await peerAdminKeys(tx, giver), runtime.now())
      if (fault) return { fault, change: undefined }
      await store(tx, giver, true, signed)
      const level = Math.min(await levelOf(tx, giver, true), await levelOf(tx, giver, false))
      if (level <= trust) return { fault, change: undefined }
      await setTrust(tx, giver, level, runtime)
      const subject = `pool:${giver}`
      await insertAct(tx, { actor: 'self', action: 'peer.bonded', subject, details: { level, admin: signed.key_id } })
      return { fault, change: { peer: giver, from: trust, to: level, by: 'self', why: 'admins of both have accepted' } }
    })
    if (fault) return fault
    await peers.refresh()
    if (change) this.#tell(change)
    return undefined
  }

  /** The word of an admin here about another pool that counts; the highest. */
  async ourAcceptance(id: PoolId): Promise<SignedAcceptance | undefined> {
    return (await this.acceptances(id)).ours
  }

  /** What admins of both have signed, as far as it counts; the highest of each side. */
  async acceptances(id: PoolId): Promise<{ ours: SignedAcceptance | undefined; theirs: SignedAcceptance | undefined }> {
    const rows = await this.#o.database.sql<
      { byPeer: boolean; level: BondLevel; at: number; signature: Buffer; keyId: string }[]
    >`
      select distinct on (by_peer) by_peer as "byPeer", level, at, signature, admin_key_id as "keyId"
        from peer_acceptances where peer_id = ${id} and withdrawn_at is null
       order by by_peer, level desc, at desc`
    const of = (byPeer: boolean) => {
      const row = rows.find((one) => one.byPeer === byPeer)
      const [giver, receiver] = byPeer ? [id, this.#o.poolId] : [this.#o.poolId, id]
      if (!row) return undefined
      const { level, at, signature, keyId } = row
      const signed = { key_id: keyId, signed_at: at / 1_000, signature: Buffer.from(signature).toString('base64') }
      return { giver, receiver, level, ...signed }
    }
    return { ours: of(false), theirs: of(true) }
  }

  async #lower(
    id: PoolId,
    by: string,
    action: string,
    why: string,
    to: (row: Locked) => number | undefined,
  ): Promise<void> {
    const { database, peers, runtime } = this.#o
    const change = await database.transaction(async (tx) => {
      const row = await lock(tx, id)
      const level = to(row)
      if (level === undefined) return undefined
      await setTrust(tx, id, level, runtime)
      await withdraw(tx, id, level, new Date(runtime.now()))
      await insertAct(tx, { actor: by, action, subject: `pool:${id}`, details: { from: row.trust, level, why } })
      return { peer: id, from: row.trust, to: level, by, why }
    })
    await peers.refresh()
    if (change) this.#tell(change)
    else if (by !== 'self') throw new PoolError('conflict', 'It is not trusted more than that.', 'See `lichen fed ls`.')
  }

  #tell(change: TrustChange): void {
    if (change.from !== change.to) this.#o.onTrust(change)
  }
}

async function lock(tx: Tx, id: PoolId): Promise<Locked> {
  const [row] = await tx<Locked[]>`
    select trust, revoked_at is not null as revoked, coalesce(spoke_v2_at, offers_v2_at) is not null as v2
      from peers where id = ${id} for update`
  if (!row) throw new PoolError('not_found', 'No pool with this id is known here.', 'See `lichen fed ls`.')
  return row
}

async function levelOf(tx: Tx, id: PoolId, byPeer: boolean): Promise<number> {
  const [row] = await tx<{ level: number }[]>`
    select coalesce(max(level), 0) as level from peer_acceptances
     where peer_id = ${id} and by_peer = ${byPeer} and withdrawn_at is null`
  return row?.level ?? 0
}

/** Whether it is new: a signature that was withdrawn does not come back. */
async function store(tx: Tx, id: PoolId, byPeer: boolean, signed: SignedAcceptance): Promise<boolean> {
  const { level, signed_at, signature, key_id } = signed
  const rows = await tx`
    insert into peer_acceptances (peer_id, by_peer, level, at, signature, admin_key_id)
    values (${id}, ${byPeer}, ${level}, ${new Date(signed_at * 1_000)}, ${Buffer.from(signature, 'base64')}, ${key_id})
    on conflict do nothing returning level`
  return rows.length === 1
}

/** This pool's acceptances above `level`. */
async function withdraw(tx: Tx, id: PoolId, level: number, now: Date): Promise<void> {
  await tx`
    update peer_acceptances set withdrawn_at = ${now}
     where peer_id = ${id} and not by_peer and level > ${level} and withdrawn_at is null`
}

async function setTrust(tx: Tx, id: PoolId, trust: number, runtime: Runtime): Promise<void> {
  await tx`update peers set trust = ${trust}, changed_at = ${new Date(runtime.now())} where id = ${id}`
}

/** A pool whose key has changed accepts again under its new id what it had accepted, where an admin signs that; else the bonds wait for one. */
export async function acceptAgain(
  tx: Tx,
  { giver, admin, now }: { giver: PoolId; admin: Pick<Identity, 'id' | 'sign'> | undefined; now: number },
): Promise<void> {
  const rows = await tx<{ peerId: PoolId; level: BondLevel }[]>`
    select peer_id as "peerId", max(level) as level from peer_acceptances
     where not by_peer and withdrawn_at is null group by peer_id`
  for (const { peerId: receiver, level } of rows) {
    await withdraw(tx, receiver, 0, new Date(now))
    if (admin) await store(tx, receiver, false, signAcceptance(admin, { giver, receiver, level }, now))
    else await tx`update peers set trust = least(trust, 2), changed_at = ${new Date(now)} where id = ${receiver}`
  }
}

const usedAlready = () =>
  new PoolError('admin_signature_required', 'This signature was used before.', 'Sign again, a second later.')
const revokedError = (id: string) =>
  new PoolError('conflict', `Pool ${id.slice(0, 12)} was revoked for good.`, 'It can come back with another key only.')
const notHigher = (trust: number) =>
  new PoolError('conflict', `It stands on level ${trust} already.`, 'To go down: `lichen fed demote ID LEVEL`.')
