import type { ModelOffer } from '#protocol'
import type { Runtime } from '#runtime'
import type { ConnectedWorker } from '#workers'
import type { ModelDirectory, ModelEntry, ModelVariant } from './model-directory.ts'

/** What is read of a worker that may be given work. */
export type OfferingWorker = Pick<ConnectedWorker, 'id' | 'offers' | 'draining'>

interface Variant {
  readonly offer: ModelOffer
  workers: number
}

interface Model {
  readonly created: number
  readonly variants: Map<string, Variant>
  /** Made when somebody asks, dropped when something changes. */
  entry: ModelEntry | undefined
}

/** Two offers of one name are told apart by file, engine, context and features. */
const variantKey = ({ digest, engine, contextTokens, features }: ModelOffer) =>
  `${digest}|${engine}|${contextTokens}|${[...features].sort().join()}`

/**
 * What connected, approved workers offer now, kept up to date worker by worker: a look-up costs nothing however many
 * there are. A draining worker offers nothing. Names stay with their first moment until the process ends.
 */
export class OfferedModels implements ModelDirectory {
  readonly #runtime: Runtime
  readonly #offers = new Map<string, readonly ModelOffer[]>()
  readonly #models = new Map<string, Model>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** Workers that offer something now. */
  get workers(): number {
    return this.#offers.size
  }

  /** Workers that offer at least one of these now. */
  workersWith(names: readonly string[]): number {
    let count = 0
    for (const offers of this.#offers.values()) if (offers.some(({ name }) => names.includes(name))) count++
    return count
  }

  /** The worker is here, or something about it changed. */
  put(worker: OfferingWorker): void {
    const offers = worker.draining ? [] : worker.offers
    if (this.#offers.get(worker.id) === offers) return
    this.remove(worker.id)
    if (offers.length === 0) return
    this.#offers.set(worker.id, offers)
    for (const offer of offers) this.#count(offer, 1)
  }

  remove(id: string): void {
    for (const offer of this.#offers.get(id) ?? []) this.#count(offer, -1)
    this.#offers.delete(id)
  }

  find(name: string): ModelEntry | undefined {
    const model = this.#models.get(name)
    if (!model || model.variants.size === 0) return undefined
    model.entry ??= {
      name,
      created: model.created,
      variants: [...model.variants.values()].map(toVariant).sort(byWorkers),
    }
    return model.entry
  }

  list(): readonly ModelEntry[] {
    return [...this.#models.keys()].sort().flatMap((name) => this.find(name) ?? [])
  }

  #count(offer: ModelOffer, by: 1 | -1): void {
    const key = variantKey(offer)
    let model = this.#models.get(offer.name)
    if (!model) {
      model = { created: Math.floor(this.#runtime.now() / 1_000), variants: new Map(), entry: undefined }
      this.#models.set(offer.name, model)
    }
    model.entry = undefined
    const variant = model.variants.get(key) ?? { offer, workers: 0 }
    variant.workers += by
    if (variant.workers > 0) model.variants.set(key, variant)
    else model.variants.delete(key)
  }
}

const byWorkers = (a: ModelVariant, b: ModelVariant) => b.workers - a.workers

function toVariant({ offer, workers }: Variant): ModelVariant {
  const { digest, engine, contextTokens, features } = offer
  return { digest, engine, contextTokens, features, workers }
}
