import { sha256 } from '#crypto'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, GroupCommit, Sql, Stage, Tx } from '#storage'
import { databaseError, texts } from '#storage'
import { ActOutbox } from './act-outbox.ts'
import { type Act, insertAct } from './acts.ts'
import { auditLog, type LogProblem } from './audit-log.ts'
import { latestCheckpoint } from './latest-checkpoint.ts'
import type { Leaf, LeafKind } from './leaf.ts'
import { limitReads } from './limit-reads.ts'
import { logLimits } from './limits.ts'
import { beginIfNew, type LogHead, type LogSigner, logStage } from './log-stage.ts'
import { NodeReader, tileWidth } from './node-reader.ts'
import { type KnownCheckpoint, readCheckpoint, readOutsideCopy, writeOutsideCopy } from './outside-copy.ts'
import { type PoolKeys, readPoolKeys } from './pool-keys.ts'
import { readConsistency, readInclusion } from './read-tree.ts'
import { refuseBehind } from './refuse-behind.ts'
import { storeTiles } from './store-tiles.ts'

export interface LogOptions {
  readonly database: Pick<Database, 'sql' | 'transaction'>
  readonly runtime: Runtime
  readonly poolId: PoolId
  /** The pool's identity. */
  readonly signer: LogSigner
  /** Holds the copy of the last checkpoint, in the file `checkpoint`. */
  readonly dataDir: string
  /** Told what goes wrong in the background, once for each attempt; a database that is away is not told. */
  readonly onProblem?: (error: unknown) => void
}

/** A leaf and its place: everything a receipt says about the log. */
export interface Proof {
  readonly index: number
  readonly path: readonly Buffer[]
  /** Signed note of the tree the path leads to. */
  readonly checkpoint: string
}

/** What anyone may ask the log. Every method rejects with PoolError invalid_request or not_found. */
export interface LogReader {
  checkpoint(): Promise<string>
  /** By its index or its leaf hash; in the newest tree when no size is given. */
  findInclusion(leaf: number | Buffer, size?: number): Promise<Inclusion>
  consistency(from: number, to: number): Promise<Buffer[]>
  tile(level: number, index: number, width?: number): Promise<Buffer>
  /** Statements by which each key of the pool named the next one, oldest first. */
  successions(): Promise<readonly string[]>
}

export interface Inclusion {
  readonly index: number
  readonly size: number
  readonly leafHash: Buffer
  readonly path: readonly Buffer[]
}

/**
 * The log of one pool. Several processes may write to it at once; each has its own outside copy.
 *
 * A process that has seen a checkpoint signs nothing that does not go on from it, and never replaces its copy by one
 * that does not: a history rewritten in the database stops the pool instead of being signed.
 */
export class TransparencyLog implements LogReader, AsyncDisposable {
  readonly #options: LogOptions
  readonly #sql: Sql
  readonly #outbox: ActOutbox
  readonly #stops: (() => void)[] = []
  #known: KnownCheckpoint
  #keeping: Promise<void> | undefined
  /** The last stage of a flush. Code 1: another leaf of this kind and name is logged already. */
  readonly stage: Stage<Leaf>
  /** For strangers: a few of them at once. */
  readonly reader: LogReader
  /** The keys this pool has had. */
  readonly keys: PoolKeys

  private constructor(options: LogOptions, known: KnownCheckpoint, keys: PoolKeys) {
    this.keys = keys
    this.#options = options
    this.#sql = options.database.sql
    this.#known = known
    this.stage = logStage(options.signer, (head) => this.#refuseOther(head))
    this.#outbox = new ActOutbox(this.#sql, this.stage)
    this.reader = limitReads(this, logLimits.publicReadsMax)
  }

  /**
   * Opens the log, or begins it, and compares it with the copy outside the database.
   * @throws PoolError log_behind, log_mismatch, database_unavailable.
   */
  static async open(options: LogOptions): Promise<TransparencyLog> {
    const { database, signer, dataDir } = options
    if (sha256(signer.publicKey).toString('hex') !== options.poolId) throw new Error("the signer is not the pool's key")
    try {
      await database.transaction((tx) => beginIfNew(tx, signer))
      const copy = await readOutsideCopy(dataDir, signer.publicKey)
      const latest = await latestCheckpoint(database.sql, signer.publicKey)
      if (copy) await refuseBehind(database.sql, copy, latest)
      if (copy?.note !== latest.note) await writeOutsideCopy(dataDir, latest.note)
      return new TransparencyLog(options, latest, await readPoolKeys(database.sql, signer.publicKey))
    } catch (error) {
      throw databaseError(error)
    }
  }

  /** Begins the background work: leaves for acts, the outside copy, full tiles. Call it once. */
  follow(commit: Pick<GroupCommit, 'submit'>): void {
    const timer = this.#options.runtime.every(logLimits.keepMs, () => {
      this.#keeping ??= this.keep(commit).finally(() => {
        this.#keeping = undefined
      })
    })
    this.#stops.push(() => timer.cancel())
  }

  /** One round of the background work. Never rejects; tells `onProblem`. */
  async keep(commit?: Pick<GroupCommit, 'submit'>): Promise<void> {
    try {
      if (commit) await this.#outbox.send(commit)
      await this.#renewCopy()
      await storeTiles(this.#sql, this.#known.size)
    } catch (error) {
      const known = databaseError(error)
      const passing = known instanceof PoolError && passingCodes.has(known.code)
      if (!passing) this.#options.onProblem?.(known)
    }
  }

  /** Keeps an act inside the transaction of the deed; see {@link insertAct}. */
  async record(tx: Tx, act: Act): Promise<void> {
    await insertAct(tx, act)
  }

  /** The newest checkpoint, a signed note. */
  async checkpoint(): Promise<string> {
    return (await this.#latest()).note
  }

  /** Where a leaf stands, proven against the newest checkpoint; undefined when it is not logged. */
  async prove(kind: LeafKind, ref: string): Promise<Proof | undefined> {
    const proof = await this.proveAll([{ kind, ref }])
    const [place] = proof?.places ?? []
    return proof && place && { ...place, checkpoint: proof.checkpoint }
  }

  /**
   * The same for several leaves under one checkpoint; undefined when one is not logged. `pool`: whose checkpoint it is to be, by the id that it
   * had then; the last one of a key that was followed by another covers all that was made under it.
   */
  async proveAll(leaves: readonly { readonly kind: LeafKind; readonly ref: string }[], pool?: Buffer) {
    const rows = await this.#sql<{ kind: string; ref: string; index: bigint }[]>`
      select l.kind, l.ref, l.index
        from unnest(${texts(leaves.map(({ kind }) => kind))}::text[], ${texts(leaves.map(({ ref }) => ref))}::text[])
               as asked (kind, ref)
        join log_leaves l on l.kind = asked.kind and l.ref = asked.ref`
    // read after the leaves, so it covers them
    const { size, note } = await this.#newestBy(pool)
    const places: { readonly index: number; readonly path: readonly Buffer[] }[] = []
    for (const { kind, ref } of leaves) {
      const row = rows.find((one) => one.kind === kind && one.ref === ref)
      if (!row) return undefined
      const index = Number(row.index)
      if (index >= size) return undefined
      places.push({ index, path: await readInclusion(this.#sql, index, size) })
    }
    return { places, checkpoint: note }
  }

  /** Path of leaf `index` in the tree of the first `size` leaves. */
  async inclusion(index: number, size: number): Promise<Buffer[]> {
    await this.#refuseSize(size, 'size')
    if (!isCount(index) || index >= size) throw badNumber('index', `Leaf ${index} is not in a tree of ${size} leaves.`)
    return readInclusion(this.#sql, index, size)
  }

  async findInclusion(leaf: number | Buffer, wanted?: number): Promise<Inclusion> {
    const size = wanted ?? (await this.#latest()).size
    const [row] =
      typeof leaf === 'number'
        ? await this.#sql<FoundLeaf[]>`select index, hash from log_leaves where index = ${leaf}`
        : await this.#sql<FoundLeaf[]>`
            select index, hash from log_leaves where hash = ${leaf} order by index limit 1`
    if (!row) throw new PoolError('not_found', 'There is no such leaf in the log.', 'Ask again once it is settled.')
    const index = Number(row.index)
    return { index, size, leafHash: row.hash, path: await this.inclusion(index, size) }
  }

  async consistency(from: number, to: number): Promise<Buffer[]> {
    await this.#refuseSize(to, 'to')
    if (!isCount(from) || from > to) throw badNumber('from', `A tree of ${to} leaves never grew from ${from}.`)
    return readConsistency(this.#sql, from, to)
  }

  /** Nodes of a tile (C2SP tlog-tiles), 32 bytes each; `width` nodes, 256 when absent. */
  async tile(level: number, index: number, width: number = tileWidth): Promise<Buffer> {
    const { size } = await this.#latest()
    const there = Math.min(tileWidth, Math.floor(size / tileWidth ** level) - index * tileWidth)
    if (there < width)
      throw new PoolError('not_found', `Tile ${level}/${index} does not have ${width} nodes yet.`, tileFix)
    return Buffer.concat(await new NodeReader(this.#sql, size).read(level, index * tileWidth, width))
  }

  async successions(): Promise<readonly string[]> {
    return this.keys.notesSince(this.keys.first)
  }

  /** Recomputes everything from the stored leaves, from leaf `from` on; says what does not fit. */
  async *audit(from = 0): AsyncGenerator<LogProblem, void> {
    const { signer, dataDir, runtime } = this.#options
    const copy = await readOutsideCopy(dataDir, signer.publicKey)
    yield* auditLog({ sql: this.#sql, keys: this.keys, copy, from, now: runtime.now() })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop()
    await this.#keeping
    await this.keep()
  }

  #latest(): Promise<KnownCheckpoint> {
    return latestCheckpoint(this.#sql, this.#options.signer.publicKey)
  }

  async #newestBy(pool: Buffer | undefined): Promise<Pick<KnownCheckpoint, 'size' | 'note'>> {
    const key = pool && this.keys.ofPool(pool)
    const earlier = key && this.keys.earlier.find(({ publicKey }) => publicKey.equals(key))
    if (!earlier) return this.#latest()
    const [row] = await this.#sql<{ note: string }[]>`
      select note from log_checkpoints where generation <= ${earlier.lastGeneration} order by number desc limit 1`
    const checkpoint = row && readCheckpoint(row.note, earlier.publicKey)
    if (checkpoint) return checkpoint
    throw new PoolError('log_mismatch', 'The last checkpoint of an earlier key is not signed by it.', tileFix)
  }

  async #renewCopy(): Promise<void> {
    const latest = await this.#latest()
    if (latest.note === this.#known.note) return
    await refuseBehind(this.#sql, this.#known, latest)
    await writeOutsideCopy(this.#options.dataDir, latest.note)
    this.#known = latest
  }

  /** Before anything is signed: the database must not have gone back behind what was seen. */
  #refuseOther({ generation, tree }: LogHead): void {
    const { generation: known, size, root } = this.#known
    if (generation === known && (tree.size > size || (tree.size === size && tree.root().equals(root)))) return
    throw new PoolError(
      'log_mismatch',
      `The database has a log of ${tree.size} leaves that does not go on from the ${size} known ones.`,
      'Stop the pool, run `lichen audit` to see what was changed, and restore the database from a backup.',
    )
  }

  async #refuseSize(size: number, param: string): Promise<void> {
    const there = isCount(size) ? (await this.#latest()).size : -1
    if (size > there || !isCount(size)) throw badNumber(param, `The log does not have ${size} leaves.`)
  }
}

interface FoundLeaf {
  readonly index: bigint
  readonly hash: Buffer
}

const passingCodes: ReadonlySet<string> = new Set(['database_unavailable', 'shutting_down', 'overloaded'])
const tileFix = 'See `GET /v1/log/checkpoint` for the size of the log.'
const isCount = (n: number) => Number.isSafeInteger(n) && n >= 0
const badNumber = (param: string, message: string) => new PoolError('invalid_request', message, tileFix, { param })
