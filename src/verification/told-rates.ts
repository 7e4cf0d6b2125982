import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { constants, createBrotliCompress, createBrotliDecompress } from 'node:zlib'
import { canonicalize } from '#crypto'
import type { Sql } from '#storage'
import { type Rate, RateTable } from './rates.ts'

/** Check rates by the root that orders name, as a line of a disclosure. */
export interface RatesLine {
  readonly rates: string
  readonly table: readonly Rate[]
}

/** From one table to the next a few digits change, so with a window of 16 MiB (RFC 7932 §9.1) each takes some dozens of bytes. */
const window = { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_QUALITY]: 5 }

/** Tables of a told epoch in their order, to be kept for good. */
export function packRates(lines: readonly RatesLine[]): Promise<Buffer> {
  const texts = lines.map((line) => Buffer.concat([canonicalize(line), Buffer.from('\n')]))
  return buffer(Readable.from(texts).pipe(createBrotliCompress({ params: window })))
}

async function* unpackRates(packed: Buffer): AsyncGenerator<RatesLine> {
  const input = Readable.from([packed]).pipe(createBrotliDecompress())
  for await (const line of createInterface({ input })) yield JSON.parse(line)
}

/** The rates in force by their root: those that may still be named, else those that were told; undefined where neither holds it. */
export class RatesOnRecord {
  readonly #sql: Sql
  readonly #epoch: number
  #told: Promise<Map<string, readonly Rate[]>> | undefined

  constructor(sql: Sql, epoch: number) {
    this.#sql = sql
    this.#epoch = epoch
  }

  async find(root: Buffer): Promise<RateTable | undefined> {
    const [row] = await this.#sql<{ rates: string }[]>`
      select rates::text as rates from rate_tables where root = ${root}`
    if (row) return new RateTable(JSON.parse(row.rates) as Rate[])
    this.#told ??= this.#readTold()
    const told = (await this.#told).get(root.toString('hex'))
    return told && new RateTable(told)
  }

  async #readTold(): Promise<Map<string, readonly Rate[]>> {
    const [row] = await this.#sql<{ tables: Buffer }[]>`
      select tables from told_rates where epoch = ${this.#epoch}`
    const tables = new Map<string, readonly Rate[]>()
    if (row) for await (const { rates, table } of unpackRates(row.tables)) tables.set(rates, table)
    return tables
  }
}
