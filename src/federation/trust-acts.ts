import type { Identity } from '#crypto'
import { insertAct } from '#log'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Tx } from '#storage'
import { acceptanceHolds, type BondLevel, type SignedAcceptance, signAcceptance } from './acceptance.ts'
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
  readonly identity: Pick<Identity, 'sign'>
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
 * Up by humans only, each step on record as an act; to 3 and 4 between version 2 pools by the humans of both.
 */
export class TrustActs {
  readonly #o: Options

  constructor(options: Options) {
    this.#o = options
  }

  /** `awaiting`: it takes effect once the other pool has accepted. */
  async promote(id: PoolId, level: number, by: string): Promise<{ trust: number; awaiting: boolean }> {
    const { database, peers, poolId: giver, runtime, identity } = this.#o
    const decided = await database.transaction(async (tx) => {
      const row = await lock(tx, id)
      const { trust, revoked, v2 } = row
      const theirLevel = await levelOf(tx, id, true)
      const verdict = decidePromotion({ trust, revoked, version: v2 ? 2 : 1, theirLevel }, level)
      if (!verdict.ok) throw verdict.why === 'revoked' ? revokedError(id) : notHigher(trust)
      if (level >= bondedFrom && v2) {
        const at = Math.floor(runtime.now() / 1_000)
        const parts = { giver, receiver: id, level: level as BondLevel, at }
        await store(tx, id, false, signAcceptance(identity, parts))
      }
      await setTrust(tx, id, verdict.trust, runtime)
      await insertAct(tx, {
        actor: by,
        action: 'peer.promote',
        subject: `pool:${id}`,
        details: { level, trust: verdict.trust },
      })
      return { from: trust, trust: verdict.trust, awaiting: verdict.awaiting }
    })
    await peers.refresh()
    this.#tell({ peer: id, from: decided.from, to: decided.trust, by, why: `promoted to ${level}` })
    return decided
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

  /** The other pool's word. It raises trust only to where a human here has raised it before. */
  async theyAccept(signed: SignedAcceptance): Promise<boolean> {
    const { database, peers, runtime, poolId } = this.#o
    const peer = peers.get(signed.giver)
    if (!peer || peer.revoked || signed.receiver !== poolId || !acceptanceHolds(peer.key, signed)) return false
    const change = await database.transaction(async (tx) => {
      const { trust, revoked } = await lock(tx, signed.giver)
      if (revoked) return undefined
      await store(tx, signed.giver, true, signed)
      const level = Math.min(await levelOf(tx, signed.giver, true), await levelOf(tx, signed.giver, false))
      if (level <= trust) return undefined
      await setTrust(tx, signed.giver, level, runtime)
      const subject = `pool:${signed.giver}`
      await insertAct(tx, { actor: 'self', action: 'peer.bonded', subject, details: { level } })
      return { peer: signed.giver, from: trust, to: level, by: 'self', why: 'both pools have accepted' }
    })
    await peers.refresh()
    if (change) this.#tell(change)
    return true
  }

  /** This pool's word about another that counts; the highest. */
  async ourAcceptance(id: PoolId): Promise<SignedAcceptance | undefined> {
    const rows = await this.#o.database.sql<{ level: BondLevel; at: number; signature: Buffer }[]>`
      select level, at, signature from peer_acceptances
       where peer_id = ${id} and not by_peer and withdrawn_at is null order by level desc, at desc limit 1`
    const [row] = rows
    if (!row) return undefined
    const { level, at, signature } = row
    return { giver: this.#o.poolId, receiver: id, level, at: at / 1_000, signature: Buffer.from(signature) }
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

async function store(tx: Tx, id: PoolId, byPeer: boolean, { level, at, signature }: SignedAcceptance): Promise<void> {
  await tx`
    insert into peer_acceptances (peer_id, by_peer, level, at, signature)
    values (${id}, ${byPeer}, ${level}, ${new Date(at * 1_000)}, ${signature}) on conflict do nothing`
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

/** A pool whose key has changed says again, with the new one, what its humans had accepted. */
export async function acceptAgain(tx: Tx, identity: Pick<Identity, 'id' | 'sign'>, now: number): Promise<void> {
  const rows = await tx<{ peerId: PoolId; level: BondLevel }[]>`
    select distinct peer_id as "peerId", level from peer_acceptances where not by_peer and withdrawn_at is null`
  for (const { peerId: receiver, level } of rows) {
    const at = Math.floor(now / 1_000)
    await store(tx, receiver, false, signAcceptance(identity, { giver: identity.id as PoolId, receiver, level, at }))
  }
}

const revokedError = (id: string) =>
  new PoolError('conflict', `Pool ${id.slice(0, 12)} was revoked for good.`, 'It can come back with another key only.')
const notHigher = (trust: number) =>
  new PoolError('conflict', `It stands on level ${trust} already.`, 'To go down: `lichen fed demote ID LEVEL`.')
