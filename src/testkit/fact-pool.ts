import { type ExchangeOptions, FactExchange } from '#federation'
import { systemRuntime } from '#runtime'
import { FederatedPool } from './federated-pool.ts'

/** A pool that speaks with others and has something to say. */
export class FactPool implements AsyncDisposable {
  readonly pool: FederatedPool
  readonly exchange: FactExchange

  private constructor(pool: FederatedPool, exchange: FactExchange) {
    this.pool = pool
    this.exchange = exchange
  }

  static async open(
    name: string,
    more: Partial<ExchangeOptions> = {},
    pool0: Parameters<typeof FederatedPool.open>[1] = {},
  ): Promise<FactPool> {
    return FactPool.of(await FederatedPool.open(name, pool0), more)
  }

  static of(pool: FederatedPool, more: Partial<ExchangeOptions> = {}): FactPool {
    const exchange = new FactExchange({
      database: pool.db.database,
      runtime: systemRuntime,
      identity: pool.identity,
      federation: pool.federation,
      mayCall: () => false, // tests say when
      generation: async () => 1,
      sayings: { models: async () => [], slashes: async () => [], revokedTokens: async () => [] },
      onProblem: (error) => {
        throw error
      },
      ...more,
    })
    return new FactPool(pool, exchange)
  }

  /** Both humans say so. */
  async bondWith(other: FactPool): Promise<void> {
    await this.pool.federation.office.add(other.pool.url)
    await this.pool.knowsAdminOf(other.pool)
    await other.pool.knowsAdminOf(this.pool)
    await this.pool.bond(other.pool.id)
    await other.pool.bond(this.pool.id)
  }

  /** `kind name=value` of what stands here. */
  async sees(): Promise<string[]> {
    return (await this.exchange.facts.view()).map(({ author, kind, name, value }) =>
      [author.slice(0, 4), kind, `${name.slice(0, 12)}=${value}`].join(' '),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.exchange[Symbol.asyncDispose]()
    await this.pool[Symbol.asyncDispose]()
  }
}
