import { leafHash, merkleRoot } from '#crypto'
import type { Runtime } from '#runtime'
import type { Sql } from '#storage'
import { verificationLimits } from './limits.ts'

/** Check rate of one worker with one model, parts per million. */
export type Rate = readonly [worker: string, model: string, ppm: number]

/** `"lichen/rate/1\n" ‖ 32 bytes worker ‖ u32 parts per million ‖ model`: one leaf of the tree of rates. */
export function rateLeaf([worker, model, ppm]: Rate): Buffer {
  const rate = Buffer.alloc(4)
  rate.writeUInt32BE(ppm)
  return Buffer.concat([Buffer.from('lichen/rate/1\n'), Buffer.from(worker, 'hex'), rate, Buffer.from(model)])
}

/** The rates in force: what an order commits to before anybody knows who will answer it. */
export class RateTable {
  readonly root: Buffer
  readonly rates: readonly Rate[]
  readonly #ppm: ReadonlyMap<string, number>

  /** `rates` in any order, each worker and model once. */
  constructor(rates: readonly Rate[]) {
    this.rates = rates.toSorted(([a, m], [b, n]) => (a === b ? (m < n ? -1 : 1) : a < b ? -1 : 1))
    this.root = merkleRoot(this.rates.map((rate) => leafHash(rateLeaf(rate))))
    this.#ppm = new Map(this.rates.map(([worker, model, ppm]) => [`${worker} ${model}`, ppm]))
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
    if (known && this.#runtime.monotonic() - this.#recordedAt < verificationLimits.ratesUsedMs) return
    await this.#record(next)
    this.#current = next
  }

  async #record({ root, rates }: RateTable): Promise<void> {
    const now = this.#runtime.now()
    await this.#sql`
      insert into rate_tables (root, rates, used_at) values (${root}, ${JSON.stringify(rates)}::text::jsonb, ${now}::timestamptz)
      on conflict (root) do update set used_at = excluded.used_at`
    this.#recordedAt = this.#runtime.monotonic()
    await this.#sql`
      delete from rate_tables where used_at < ${now - verificationLimits.ratesKeptMs}::timestamptz`
  }
}
