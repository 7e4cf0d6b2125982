import type { ModelFeature, ModelOffer } from '#protocol'
import type { Runtime } from '#runtime'
import { type Sql, texts } from '#storage'
import { jobsLimits } from './limits.ts'

interface Known {
  readonly features: ReadonlySet<ModelFeature>
  /** Wall clock: when the table was last told. */
  readonly toldAt: number
}

/** The table is told again after so long that a model is still offered. */
const retellMs = 3_600_000

/**
 * Models that were offered within the last month, by any pool process on this database. Asking for one while its workers
 * are away is a 503, asking for one that never was is a 404.
 */
export class KnownModels {
  readonly #sql: Sql
  readonly #runtime: Runtime
  readonly #models = new Map<string, Known>()
  #told: Promise<void> = Promise.resolve()

  constructor(sql: Sql, runtime: Runtime) {
    this.#sql = sql
    this.#runtime = runtime
  }

  /** A worker offers these. Returns at once; the table follows. */
  offered(offers: readonly ModelOffer[]): void {
    const now = this.#runtime.now()
    const news: { name: string; features: string[] }[] = []
    for (const offer of offers) {
      const known = this.#models.get(offer.name)
      const isNew = !known || offer.features.some((feature) => !known.features.has(feature))
      if (!isNew && now - known.toldAt < retellMs) continue
      if (!known && this.#models.size >= jobsLimits.knownModelsMax) continue
      const features = new Set([...(known?.features ?? []), ...offer.features])
      this.#models.set(offer.name, { features, toldAt: now })
      news.push({ name: offer.name, features: [...features] })
    }
    if (news.length > 0) this.#told = this.#told.then(() => this.#tell(news, now))
  }

  /**
   * What the model could be asked for when it was offered, or `undefined` when nobody offered it.
   * @throws what the database throws.
   */
  async featuresOf(name: string): Promise<ReadonlySet<ModelFeature> | undefined> {
    // PostgreSQL has no such character; no worker may offer such a name either.
    if (name.includes('\0')) return undefined
    const known = this.#models.get(name)
    if (known && this.#runtime.now() - known.toldAt < jobsLimits.knownModelMs) return known.features
    const [row] = await this.#sql<{ features: ModelFeature[] }[]>`
      select features from known_models
       where name = ${name} and seen_at > ${this.#runtime.now() - jobsLimits.knownModelMs}::timestamptz`
    return row && new Set(row.features)
  }

  /** Resolves when the table knows what was offered so far. */
  settled(): Promise<void> {
    return this.#told
  }

  /** A failure is made good when the model is offered again, an hour later at most. */
  async #tell(news: readonly { name: string; features: string[] }[], now: number): Promise<void> {
    try {
      await this.#sql`
        insert into known_models as k (name, features, seen_at)
        select name, string_to_array(features, ' '), ${now}::timestamptz
          from unnest(${texts(news.map((one) => one.name))}::text[],
                      ${texts(news.map((one) => one.features.join(' ')))}::text[]) as n (name, features)
        on conflict (name) do update
          set seen_at = excluded.seen_at,
              features = (select array_agg(distinct f) from unnest(k.features || excluded.features) as f)`
    } catch {
      for (const { name } of news) this.#models.delete(name)
    }
  }
}
