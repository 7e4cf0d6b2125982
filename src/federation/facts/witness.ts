import { z } from 'zod'
import { type Identity, sha256, verifyConsistency } from '#crypto'
import type { GenerationNote } from '#log'
import { hex64, openCheckpoint, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, texts } from '#storage'
import { peerAdminKeys } from '../admin-signatures.ts'
import { factLimits } from '../limits.ts'
import type { Peers } from '../peers.ts'
import type { Heard } from '../receiver.ts'
import { type Answer, answerNo, answerYes } from '../signed-route.ts'
import { placeOf } from '../successions.ts'
import { type Beginning, leavesLeft, readBeginnings } from './generations.ts'
import type { Notices } from './notices.ts'

export const witnessPath = '/v1/federation/witness'
/** Where a pool asks what was seen of its own log. */
export const seenPath = '/v1/federation/witness/seen'

const seenAskSchema = z.object({ skip: z.int().min(0).max(factLimits.witnessedMax) })

/** The tree of another pool's log, as that pool signed it. */
export interface SeenTree {
  readonly generation: number
  readonly size: number
  readonly root: Buffer
}

export type Judged =
  | { readonly says: 'first' | 'same' | 'grown' }
  /** It has to show that it goes on from this size. */
  | { readonly says: 'show'; readonly from: number }
  /** Two signed histories. */
  | { readonly says: 'fork' }
  /** It has fewer leaves than it has shown, and does not say why. */
  | { readonly says: 'rollback'; readonly lost: number }
  /** It says, signed by admins, that it lost leaves. */
  | { readonly says: 'loss'; readonly lost: number; readonly signers: readonly Buffer[] }

/** What a pool shows: a tree, how it grew from its first `from` leaves, and, after a restore, from how many leaves it went on. */
export interface Shown extends SeenTree {
  readonly from: number
  readonly path: readonly Buffer[]
  /** Whether it has nothing newer. */
  readonly newest: boolean
  /** How its generations began, the newest first, as far as somebody has signed. */
  readonly beginnings: readonly Beginning[]
}

/** Compares what a pool shows now with what it has shown. `known`: trees of it that were found to belong together, in any order. */
export function judgeCheckpoint(known: readonly SeenTree[], shown: Shown): Judged {
  const newest = known.toSorted((a, b) => b.generation - a.generation || b.size - a.size)[0]
  if (!newest) return { says: 'first' }
  if (shown.generation < newest.generation) return { says: 'rollback', lost: newest.size - shown.size }
  if (shown.generation > newest.generation) return judgeNext(known, newest, shown)
  if (shown.size < newest.size)
    return shown.newest ? { says: 'rollback', lost: newest.size - shown.size } : { says: 'show', from: newest.size }
  if (shown.size === newest.size) return { says: shown.root.equals(newest.root) ? 'same' : 'fork' }
  if (shown.from !== newest.size) return { says: 'show', from: newest.size }
  return { says: goesOn(newest, shown) ? 'grown' : 'fork' }
}

/** A generation that was not seen before: all that was not signed for as lost must be in it. */
function judgeNext(known: readonly SeenTree[], newest: SeenTree, shown: Shown): Judged {
  const { beginnings, generation } = shown
  const left = (of: number) => leavesLeft(beginnings, generation, of)
  const leftOfNewest = left(newest.generation)
  if (leftOfNewest === undefined) return { says: 'fork' }
  const kept = known.filter((tree) => tree.size <= (left(tree.generation) ?? 0)).toSorted((a, b) => b.size - a.size)[0]
  if (kept && kept.size > 0) {
    if (shown.size < kept.size && shown.newest) return { says: 'rollback', lost: kept.size - shown.size }
    if (shown.size < kept.size || shown.from !== kept.size) return { says: 'show', from: kept.size }
    if (!goesOn(kept, shown)) return { says: 'fork' }
  }
  const lost = Math.max(0, newest.size - leftOfNewest)
  const since = beginnings.filter((one) => one.generation > newest.generation)
  const signers = since.flatMap((one) => (one.how === 'loss' ? one.signer : []))
  return lost > 0 ? { says: 'loss', lost, signers } : { says: 'grown' }
}

const goesOn = (old: SeenTree, { size, root, path }: Shown) =>
  old.size === 0 || verifyConsistency({ oldSize: old.size, oldRoot: old.root, newSize: size, newRoot: root, path })

/** What a witness signs: that it has seen this checkpoint, at this time (after C2SP tlog-cosignature). */
export function cosignatureBytes(checkpoint: string, seconds: number): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${seconds}\n${checkpoint.slice(0, checkpoint.lastIndexOf('\n\n') + 1)}`)
}

export const showSchema = z.object({
  checkpoint: z.string().max(1_000),
  from: z.int().min(0),
  path: z.array(z.base64().length(44)).max(128),
  newest: z.boolean(),
  statements: z.array(z.object({ key: hex64, note: z.string().max(2_000) })).max(factLimits.generationsShownMax),
})

/** One checkpoint that was vouched for; null stands for this pool. */
export interface Voucher {
  readonly witness: PoolId | null
  readonly pool: PoolId | null
  readonly generation: number
  readonly size: string
  /** Unix seconds. */
  readonly time: string
}

export interface WitnessOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly identity: Pick<Identity, 'sign'>
  readonly peers: Pick<Peers, 'get'>
  readonly notices: Notices
  /** Says to all others that this pool has two histories, with both checkpoints. */
  readonly publish: (pool: PoolId, proof: Buffer) => Promise<unknown>
}

/** Remembers what bonded pools have shown of their logs, vouches for what goes on from it, and tells of what does not. */
export class Witness {
  readonly #o: WitnessOptions

  constructor(options: WitnessOptions) {
    this.#o = options
  }

  /** A bonded pool shows its newest checkpoint. */
  async reply({ envelope, verified }: Heard): Promise<Answer> {
    const read = showSchema.safeParse(verified.body)
    const peer = this.#o.peers.get(envelope.sender)
    if (envelope.version !== 2 || !read.success || !peer) return answerNo(400, 'invalid checkpoint')
    const { checkpoint: note, from, path, newest, statements } = read.data
    const opened = openCheckpoint(note, peer.key.raw)
    if (!opened.ok) return answerNo(400, 'the checkpoint is not signed by this pool')
    const { generation, size, root } = opened.checkpoint
    const place = await placeOf(this.#o.database.sql, peer.id)
    const shown: Shown = {
      generation,
      size,
      root,
      from,
      newest,
      path: path.map((hash) => Buffer.from(hash, 'base64')),
      beginnings: readBeginnings(statements, { key: peer.key.raw, generation }),
    }
    const known = await this.#known(place)
    const judged = judgeCheckpoint(known, shown)
    if (judged.says === 'show') return answerYes({ from: judged.from })
    if (judged.says === 'fork' || judged.says === 'rollback') return this.#accuse(peer.id, note, judged, place)
    if (judged.says === 'loss') await this.#tellLoss(peer.id, generation, judged, statements)
    return answerYes(await this.#vouch(peer.id, shown, note))
  }

  /** Whether the keys that signed are those of its admins, only the humans here know. */
  async #tellLoss(
    pool: PoolId,
    generation: number,
    { lost, signers }: Judged & { says: 'loss' },
    statements: readonly GenerationNote[],
  ): Promise<void> {
    const known = await peerAdminKeys(this.#o.database.sql, pool)
    const ids = [...new Set(signers.map((key) => sha256(key).toString('hex')))]
    const of = (list: readonly string[]) => list.map((id) => id.slice(0, 12)).join(' and ')
    const strange = ids.filter((id) => !known.has(id))
    const text =
      strange.length === 0
        ? `as its admin ${of(ids)} has signed. That is a restore, not a fork.`
        : `as ${of(strange)} has signed, whom nobody here has registered as its admin: ask there. A restore by its admin is no fork.`
    await this.#o.notices.open({
      kind: 'loss',
      peer: pool,
      subject: pool,
      text: `Its log lost ${lost} leaves and goes on as generation ${generation}, ${text}`,
      details: { lost, statements },
      same: `loss:${pool}:${generation}`,
    })
  }

  /** What was seen of the log of the pool that asks, the newest first, a page at a time. */
  async replySeen({ envelope, verified }: Heard): Promise<Answer> {
    const read = seenAskSchema.safeParse(verified.body)
    const peer = this.#o.peers.get(envelope.sender)
    if (envelope.version !== 2 || !read.success || !peer) return answerNo(400, 'invalid question')
    const { seenPageMax } = factLimits
    const rows = await this.#o.database.sql<{ note: string; time: bigint; cosignature: Buffer }[]>`
      select note, time, cosignature from witnessed where pool_id = any(${texts(await placeOf(this.#o.database.sql, peer.id))}::text[])
       order by generation desc, size desc offset ${read.data.skip} limit ${seenPageMax + 1}`
    const seen = rows.slice(0, seenPageMax).map(({ note, time, cosignature }) => ({
      checkpoint: note,
      time: Number(time),
      cosignature: cosignature.toString('base64'),
    }))
    return answerYes({ seen, more: rows.length > seenPageMax })
  }

  /** What was last seen of a pool, and this pool's signature under it; undefined: nothing. For anybody. */
  seen(pool: string): Promise<{ checkpoint: string; time: number; cosignature: string } | undefined> {
    return this.#seenOf([pool])
  }

  async #seenOf(
    place: readonly string[],
  ): Promise<{ checkpoint: string; time: number; cosignature: string } | undefined> {
    const [row] = await this.#o.database.sql<{ note: string; time: bigint; cosignature: Buffer }[]>`
      select note, time, cosignature from witnessed where pool_id = any(${texts(place)}::text[])
       order by generation desc, size desc limit 1`
    return row && { checkpoint: row.note, time: Number(row.time), cosignature: row.cosignature.toString('base64') }
  }

  /** Who vouches for whom: checkpoints of this pool that others have signed, and of others that this pool has. */
  async vouchers(): Promise<Voucher[]> {
    return this.#o.database.sql<Voucher[]>`
      select peer_id as witness, null as pool, generation, size::text, time::text from vouchers
      union all
      select * from (
        select distinct on (pool_id) null as witness, pool_id as pool, generation, size::text, time::text from witnessed
         order by pool_id, witnessed.generation desc, witnessed.size desc) newest
      limit ${factLimits.noticesShownMax}`
  }

  async #known(place: readonly string[]): Promise<SeenTree[]> {
    const rows = await this.#o.database.sql<{ generation: number; size: bigint; root: Buffer }[]>`
      select generation, size, root from witnessed where pool_id = any(${texts(place)}::text[])
       order by generation desc, size desc limit ${factLimits.witnessedMax}`
    return rows.map((row) => ({ ...row, size: Number(row.size) }))
  }

  async #vouch(pool: PoolId, { generation, size, root }: SeenTree, note: string) {
    const time = Math.floor(this.#o.runtime.now() / 1_000)
    const cosignature = this.#o.identity.sign(cosignatureBytes(note, time))
    const { sql } = this.#o.database
    await sql`
      insert into witnessed (pool_id, generation, size, root, note, time, cosignature)
      values (${pool}, ${generation}, ${size}, ${root}, ${note}, ${time}, ${cosignature})
      on conflict (pool_id, generation, size) do update set time = excluded.time, cosignature = excluded.cosignature`
    await sql`
      delete from witnessed w where pool_id = ${pool} and (generation, size) < (
        select generation, size from witnessed where pool_id = ${pool}
         order by generation desc, size desc offset ${factLimits.witnessedMax} limit 1)`
    return { time, cosignature: cosignature.toString('base64') }
  }

  /** The proof is kept, told to the humans here and to all other pools; this pool vouches for neither history. */
  async #accuse(
    pool: PoolId,
    note: string,
    judged: Judged & { says: 'fork' | 'rollback' },
    place: readonly string[],
  ): Promise<Answer> {
    // of a pool that has changed its key what it had signed before counts, too
    const before = await this.#seenOf(place)
    const proof = { first: before?.checkpoint ?? '', second: note }
    const text =
      judged.says === 'fork'
        ? 'It has signed two histories of its log: the newer checkpoint does not go on from the older one.'
        : `Its log has ${judged.lost} leaves fewer than it has shown, and no admin of it has signed for a loss.`
    const same = `${judged.says}:${pool}:${before?.time}`
    const isNew = await this.#o.notices.open({
      kind: judged.says,
      peer: pool,
      subject: pool,
      text,
      details: proof,
      same,
    })
    if (isNew && judged.says === 'fork') await this.#o.publish(pool, Buffer.from(JSON.stringify(proof)))
    return answerYes({ problem: text })
  }
}
