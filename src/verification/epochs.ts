import { createHash } from 'node:crypto'
import type { Leaf } from '#log'
import { epochCommitment, epochMs, epochOf, PoolError } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { bigints, bytes, type Database, type GroupCommit, part, type Stage } from '#storage'
import { discloseEpoch, disclosureText } from './disclosure.ts'
import { verificationLimits } from './limits.ts'
import { seal, unseal } from './sealing.ts'
import { packRates, type RatesLine } from './told-rates.ts'

/** An epoch as it is opened. */
interface EpochRow {
  readonly epoch: number
  readonly commitment: Buffer
  readonly sealed: Buffer
}

/** 1: another process of the pool has opened the epoch with another key. */
export const epochStage: Stage<EpochRow> = {
  name: 'epochs',
  async apply(tx, rows) {
    const found = await tx<{ epoch: bigint; commitment: Buffer }[]>`
      with given as (
        select * from unnest(${bigints(rows.map((r) => r.epoch))}::bigint[], ${bytes(rows.map((r) => r.commitment))}::bytea[],
                             ${bytes(rows.map((r) => r.sealed))}::bytea[]) as g (epoch, commitment, sealed)),
      opened as (
        insert into epochs (epoch, commitment, sealed) select * from given on conflict (epoch) do nothing
        returning epoch, commitment)
      select epoch, commitment from opened
      union all select e.epoch, e.commitment from epochs e join given using (epoch)`
    const known = new Map(found.map(({ epoch, commitment }) => [Number(epoch), commitment]))
    return rows.map(({ epoch, commitment }) => (known.get(epoch)?.equals(commitment) ? 0 : 1))
  },
}

/** `"lichen/epoch/1\n" ‖ u64 epoch ‖ commitment`: what the log holds before the epoch's first order. */
export function epochLeaf(epoch: number, commitment: Buffer): Leaf {
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(BigInt(epoch))
  return {
    kind: 'epoch',
    ref: String(epoch),
    data: Buffer.concat([Buffer.from('lichen/epoch/1\n'), number, commitment]),
  }
}

/** An epoch whose decisions are told. */
interface ToldRow {
  readonly epoch: number
  readonly key: Buffer
  /** sha256 of the disclosure. */
  readonly disclosure: Buffer
  /** Its check rates, packed. */
  readonly rates: Buffer
}

/** 1: there is no such epoch, or it was told otherwise. */
export const epochToldStage: Stage<ToldRow> = {
  name: 'epochs_told',
  async apply(tx, rows) {
    const told = await tx<{ epoch: bigint }[]>`
      with given as (
        select * from unnest(${bigints(rows.map((r) => r.epoch))}::bigint[], ${bytes(rows.map((r) => r.key))}::bytea[],
                             ${bytes(rows.map((r) => r.disclosure))}::bytea[], ${bytes(rows.map((r) => r.rates))}::bytea[])
                        as g (epoch, key, disclosure, rates)),
      written as (
        update epochs e set key = g.key, disclosure = g.disclosure, sealed = null
          from given g where e.epoch = g.epoch and e.key is null returning e.epoch),
      kept as (
        insert into told_rates (epoch, tables) select epoch, rates from written join given using (epoch) on conflict do nothing)
      select epoch from written
      union all select e.epoch from epochs e join given g using (epoch) where e.key = g.key and e.disclosure = g.disclosure`
    const known = new Set(told.map(({ epoch }) => Number(epoch)))
    return rows.map(({ epoch }) => (known.has(epoch) ? 0 : 1))
  },
}

/** `"lichen/epoch-told/1\n" ‖ u64 epoch ‖ key ‖ sha256 of the disclosure`. */
export function toldLeaf({ epoch, key, disclosure }: Omit<ToldRow, 'rates'>): Leaf {
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(BigInt(epoch))
  const data = Buffer.concat([Buffer.from('lichen/epoch-told/1\n'), number, key, disclosure])
  return { kind: 'epoch', ref: `${epoch} told`, data }
}

/** An open epoch. */
export interface OpenEpoch {
  readonly epoch: number
  readonly commitment: Buffer
  /** 32 bytes; a secret until a day after the epoch. */
  readonly key: Buffer
}

interface EpochsOptions {
  readonly database: Pick<Database, 'sql'>
  readonly commit: Pick<GroupCommit, 'submit'>
  readonly runtime: Runtime
  /** Of the pool; 32 bytes. */
  readonly sealingKey: Buffer
  readonly logStage: Stage<Leaf>
  readonly onProblem?: (error: unknown) => void
}

/**
 * The keys by which statements are sampled, one for each UTC hour. The pool commits to a key in its log two epochs ahead
 * (a pool that was down or is new: before the first order of the epoch). Processes on one database share them: the first
 * to open an epoch wins, the others read what it wrote.
 */
export class Epochs implements AsyncDisposable {
  readonly #o: EpochsOptions
  readonly #open = new Map<number, OpenEpoch>()
  #timer: Timer | undefined
  #opening: Promise<void> | undefined

  private constructor(options: EpochsOptions) {
    this.#o = options
  }

  /** @throws PoolError database_unavailable. */
  static async open(options: EpochsOptions): Promise<Epochs> {
    const epochs = new Epochs(options)
    await epochs.#prepare()
    epochs.#timer = options.runtime.every(verificationLimits.epochLookMs, () => {
      epochs.#opening ??= epochs
        .#prepare()
        .catch((error: unknown) => options.onProblem?.(error))
        .finally(() => {
          epochs.#opening = undefined
        })
    })
    return epochs
  }

  /** The epoch of a moment near now, milliseconds since 1970. @throws PoolError database_unavailable. */
  at(ms: number): OpenEpoch {
    const open = this.#open.get(epochOf(ms))
    if (open) return open
    const [message, fix] = ['The key of this hour could not be opened yet.', 'Try again in a moment.']
    throw new PoolError('database_unavailable', message, fix, { retryAfterMs: 1_000 })
  }

  /** The key of an epoch whose answers are still being checked; undefined when it is not known. */
  async find(epoch: number): Promise<OpenEpoch | undefined> {
    return this.#open.get(epoch) ?? this.#read(epoch)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer?.cancel()
    await this.#opening
  }

  async #prepare(): Promise<void> {
    const now = epochOf(this.#o.runtime.now())
    for (let epoch = now; epoch <= now + verificationLimits.epochsAhead; epoch++) {
      if (this.#open.has(epoch)) continue
      const open = (await this.#read(epoch)) ?? (await this.#begin(epoch))
      this.#open.set(epoch, open)
    }
    for (const epoch of this.#open.keys()) if (epoch < now - 1) this.#open.delete(epoch)
    await this.#tellDue()
  }

  /**
   * Tells every epoch whose time has come, the oldest first. What is told stays as it is: where a pool was down, checks of the epoch may be
   * open and jobs without their receipt, and it is told once they are not.
   */
  async #tellDue(): Promise<void> {
    const { database, runtime } = this.#o
    const last = epochOf(runtime.now() - verificationLimits.disclosureMs) - 1
    const due = await database.sql<{ epoch: bigint }[]>`
      select epoch from epochs e
       where key is null and epoch <= ${last}
         and not exists (select from checks c where c.epoch = e.epoch and c.ended_at is null)
         and not exists (
           select from holds h join jobs j on j.id = h.id
            where j.accepted_at < to_timestamp((e.epoch + 1) * ${epochMs / 1_000}::float8))
       order by epoch limit 24`
    for (const { epoch } of due) await this.tell(Number(epoch))
  }

  /** Tells the key of an epoch, and by it every decision. */
  async tell(epoch: number): Promise<void> {
    const { database, commit, logStage } = this.#o
    const open = await this.#read(epoch)
    if (!open) return
    const hash = createHash('sha256')
    const tables: RatesLine[] = []
    for await (const line of discloseEpoch(database.sql, open)) {
      hash.update(disclosureText(line))
      if ('rates' in line) tables.push(line)
    }
    const row = { epoch, key: open.key, disclosure: hash.digest(), rates: await packRates(tables) }
    await commit.submit([part(epochToldStage, row), part(logStage, toldLeaf(row))])
  }

  async #begin(epoch: number): Promise<OpenEpoch> {
    const { runtime, commit, logStage, sealingKey } = this.#o
    const key = runtime.randomBytes(verificationLimits.epochKeyBytes)
    const commitment = epochCommitment(key)
    const sealed = seal(sealingKey, epochKeyLabel(epoch), key, runtime)
    const outcome = await commit.submit([
      part(epochStage, { epoch, commitment, sealed }),
      part(logStage, epochLeaf(epoch, commitment)),
    ])
    if (outcome.applied) return { epoch, commitment, key }
    const other = await this.#read(epoch)
    if (!other) throw new Error(`epoch ${epoch} was opened by nobody`)
    return other
  }

  async #read(epoch: number): Promise<OpenEpoch | undefined> {
    const [row] = await this.#o.database.sql<{ commitment: Buffer; sealed: Buffer | null; key: Buffer | null }[]>`
      select commitment, sealed, key from epochs where epoch = ${epoch}`
    if (!row) return undefined
    const key = row.key ?? (row.sealed ? unseal(this.#o.sealingKey, epochKeyLabel(epoch), row.sealed) : undefined)
    if (!key && row.sealed) {
      throw new PoolError(
        'config_invalid',
        `The key of epoch ${epoch} is not sealed under this pool’s storage key.`,
        'Put the pool’s own `sealing.key` (or, without one, `pool.key`) back into the data folder. If it is there, somebody changed the database: restore it from a backup.',
      )
    }
    if (!key || !epochCommitment(key).equals(row.commitment)) {
      throw new PoolError(
        'log_mismatch',
        `The key of epoch ${epoch} is not the one the pool committed to.`,
        'Run `lichen audit` to see what was changed, and restore the database from a backup.',
      )
    }
    return { epoch, commitment: row.commitment, key }
  }
}

/** Binds a sealed key to its hour. */
export const epochKeyLabel = (epoch: number) => `lichen/epoch-key/1 ${epoch}`
