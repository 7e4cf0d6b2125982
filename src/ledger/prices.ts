import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, databaseError, type Tx } from '#storage'
import { ledgerLimits } from './limits.ts'

export const priceUnits = ['prompt_token', 'completion_token', 'cpu_100ms'] as const
export type PriceUnit = (typeof priceUnits)[number]

/** What one unit costs, micro-credits. */
export interface Price {
  /** A model's name, or `*` for every model without a price of its own. */
  readonly model: string
  readonly unit: PriceUnit
  readonly amount: bigint
  /** From when on, milliseconds since 1970. */
  readonly validFrom: number
  readonly setBy: string
}

type NewPrice = Omit<Price, 'validFrom'> & { readonly validFrom?: number }

/** Micro-credits for one token each. */
export interface TokenPrices {
  readonly prompt: bigint
  readonly completion: bigint
}

/** The price list. Prices are only ever added; the latest that has begun counts, a model's own before `*`. */
export class Prices {
  readonly #database: Database
  readonly #runtime: Runtime
  #list: readonly Price[] = []
  #readAt = Number.NEGATIVE_INFINITY
  #reading: Promise<readonly Price[]> | undefined

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
  }

  /** Every price that counts now or will, the past ones left out; `*` first. */
  async list(): Promise<Price[]> {
    const now = this.#runtime.now()
    const all = await this.#read()
    const current = new Set(
      [...new Set(all.map(({ model, unit }) => `${unit} ${model}`))].map((name) => {
        const [unit = '', model = ''] = [name.slice(0, name.indexOf(' ')), name.slice(name.indexOf(' ') + 1)]
        return latest(all, unit, model, now)
      }),
    )
    return all.filter((price) => price.validFrom > now || current.has(price))
  }

  /** Adds a price; it counts from `validFrom` on, at once when that is past. @throws PoolError invalid_request. */
  async set({ validFrom = this.#runtime.now(), ...price }: NewPrice): Promise<Price> {
    const made = { ...price, validFrom }
    await this.setAll([made], async () => {})
    return made
  }

  /**
   * Adds several, or none; `also` joins their transaction. A token costs 0 to `tokenPriceMax`, other units 0 to `amountMax`.
   * @throws PoolError invalid_request.
   */
  async setAll(prices: readonly Price[], also: (tx: Tx) => Promise<void>): Promise<readonly Price[]> {
    for (const price of prices) assertPayable(price)
    await this.#database.transaction(async (tx) => {
      for (const { model, unit, amount, validFrom, setBy } of prices) {
        await tx`
          insert into prices (model, unit, amount, valid_from, set_by)
          values (${model}, ${unit}, ${amount}, ${validFrom}, ${setBy})`
      }
      await also(tx)
    })
    this.#readAt = Number.NEGATIVE_INFINITY
    return prices
  }

  /** What tokens of a model cost now. */
  async for(model: string): Promise<TokenPrices> {
    const [prompt, completion] = await Promise.all([this.of('prompt_token', model), this.of('completion_token', model)])
    return { prompt, completion }
  }

  /** What a unit costs now. A change made in another process counts within a second; while the database is away, what it cost last. */
  async of(unit: PriceUnit, model = '*'): Promise<bigint> {
    const fresh = this.#runtime.monotonic() - this.#readAt < ledgerLimits.pricesFreshMs
    const all = fresh ? this.#list : await this.#read()
    const now = this.#runtime.now()
    const price = latest(all, unit, model, now) ?? latest(all, unit, '*', now)
    if (!price) throw new Error(`there is no price for ${unit}`)
    return price.amount
  }

  #read(): Promise<readonly Price[]> {
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #readOnce(): Promise<readonly Price[]> {
    const askedAt = this.#runtime.monotonic()
    try {
      this.#list = await this.#database.sql<Price[]>`
        select model, unit, amount, valid_from as "validFrom", set_by as "setBy"
          from prices order by model <> '*', model, unit, seq`
    } catch (error) {
      const refusal = databaseError(error)
      // A request may wait for the database to come back; nobody sets a price while it is away.
      if (refusal instanceof PoolError && refusal.code === 'database_unavailable' && this.#list.length > 0)
        return this.#list
      throw refusal
    }
    this.#readAt = askedAt
    return this.#list
  }
}

/** @throws PoolError invalid_request. */
function assertPayable({ unit, amount }: Price): void {
  const most = unit === 'cpu_100ms' ? ledgerLimits.amountMax : ledgerLimits.tokenPriceMax
  if (amount >= 0n && amount <= most) return
  const message = `The price of one ${unit} is ${amount} micro-credits; it must be between 0 and ${most}.`
  throw new PoolError('invalid_request', message, 'Set a lower price.', { param: unit })
}

/** Of those that have begun the one that began last; of two that began together the one set later. */
function latest(all: readonly Price[], unit: string, model: string, now: number): Price | undefined {
  let best: Price | undefined
  for (const price of all) {
    if (price.unit !== unit || price.model !== model || price.validFrom > now) continue
    if (!best || price.validFrom >= best.validFrom) best = price
  }
  return best
}
