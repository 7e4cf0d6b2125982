import { inclusionPath, leafHash, merkleRoot } from '#crypto'
import { rateLeafData } from '#protocol'
import type { Runtime } from '#runtime'
import type { Sql } from '#storage'
import { verificationLimits } from './limits.ts'

const { epochMs, ratesKeptMs, ratesUsedMs } = verificationLimits

/** Check rate of one worker with one model, parts per million. */
export type Rate = readonly [worker: string, model: string, ppm: number]

const leafOf = ([worker, model, ppm]: Rate) => leafHash(rateLeafData(Buffer.from(worker, 'hex'), model, ppm))

/** A rate, and its place in the tree of the table. */
interface RateProof {
  readonly ppm: number
  readonly index: number
  readonly size: number
  readonly path: readonly Buffer[]
}

/** The rates in force: what an order commits to before anybody knows who will answer it. */
export class RateTable {
  readonly root: Buffer
  readonly rates: readonly Rate[]
  readonly #ppm: ReadonlyMap<string, number>

  /** `rates` in any order, each worker and model once. */
  constructor(rates: readonly Rate[]) {
    this.rates = rates.toSorted(([a, m], [b, n]) => (a === b ? (m < n ? -1 : 1) : a < b ? -1 : 1))
    this.root = merkleRoot(this.rates.map(leafOf))
    this.#ppm = new Map(this.rates.map(([worker, model, ppm]) => [`${worker} ${model}`, ppm]))
  }

  /** The rate with its proof; undefined: not in the table. */
  prove(worker: string, model: string): RateProof | undefined {
    const index = this.rates.findIndex(([id, name]) => id === worker && name === model)
    const rate = this.rates[index]
    if (!rate) return undefined
    return { ppm: rate[2], index, size: this.rates.length, path: inclusionPath(this.rates.map(leafOf), index) }
  }

  /** Who is not in the table is checked always. */
  of(worker: string, model: string): number {
    return this.#ppm.get(`${worker} ${model}`) ?? 1_000_000
  }
}

/**
 * The table in force, renewed every few seconds where rates changed. A table is on record before an order names it. That
 * it lags a little costs nothing: a worker in doubt is checked always, whatever the table says.
 */
export class Rates {
  readonly #sql: Sql
  readonly #runtime: Runtime
  readonly #read: () => readonly Rate[]
  #current: RateTable
  #recordedAt = Number.NEGATIVE_INFINITY

  private constructor(sql: Sql, runtime: Runtime, read: () => readonly Rate[]) {
    this.#sql = sql
    this.#runtime = runtime
    this.#read = read
    this.#current = new RateTable(read())
  }

  static async open(sql: Sql, runtime: Runtime, read: () => readonly Rate[]): Promise<Rates> {
    const rates = new Rates(sql, runtime, read)
    await rates.#record(rates.#current)
    return rates
  }

  get current(): RateTable {
    return this.#current
  }

  /** Called every few seconds. */
  async renew(): Promise<void> {
    const next = new RateTable(this.#read())
    const known = next.root.equals(this.#current.root)
    if (known && this.#runtime.monotonic() - this.#recordedAt < ratesUsedMs) return
    await this.#record(next)
    this.#current = next
  }

  async #record({ root, rates }: RateTable): Promise<void> {
    const now = this.#runtime.now()
    await this.#sql`
      insert into rate_tables (root, rates, used_at) values (${root}, ${JSON.stringify(rates)}::text::jsonb, ${now}::timestamptz)
      on conflict (root) do update set used_at = excluded.used_at`
    this.#recordedAt = this.#runtime.monotonic()
    // What orders of an epoch name is needed until that is told, however long it takes; then it is kept with what was told.
    await this.#sql`
      delete from rate_tables
       where used_at < ${now - ratesKeptMs}::timestamptz
         and not exists (
           select from epochs e where e.key is null
              and to_timestamp(e.epoch * ${epochMs / 1_000}::float8) < used_at + ${2 * ratesUsedMs} * interval '1 millisecond')`
  }
}
