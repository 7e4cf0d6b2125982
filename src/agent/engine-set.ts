import type { Engine } from '#engines'
import { type Hello, type ModelOffer, modelOfferSchema, protocolLimits, verifyFeature } from '#protocol'

/** Where the agent says what happened. A pino logger is one. Lines carry no prompt, reply or key. */
export interface AgentLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

const slotsMax = 4_096

/** The engines of one worker, as one offer to the pool. */
export class EngineSet {
  readonly #engines: Engine[] = []
  readonly #agent: string
  readonly #log: AgentLog
  readonly #features: readonly string[]
  readonly #refusedNames = new Set<string>()
  #byName: ReadonlyMap<string, { engine: Engine; offer: ModelOffer }> = new Map()
  /** The offer changed: an engine went down, came up or has other models. */
  onChanged: (() => void) | undefined

  /** `features`: those of the worker itself. */
  constructor(engines: readonly Engine[], agent: string, log: AgentLog, features: readonly string[] = []) {
    this.#features = features
    this.#agent = agent
    this.#log = log
    for (const engine of engines) this.#watch(engine)
    this.#byName = this.#collect()
  }

  /** One more engine: what it has is offered from now on. */
  add(engine: Engine): void {
    this.#watch(engine)
    this.#changed()
  }

  /** One engine less: what it has is offered no more. What it computes goes on until it is disposed of. */
  remove(engine: Engine): void {
    this.#engines.splice(this.#engines.indexOf(engine), 1)
    this.#changed()
  }

  #watch(engine: Engine): void {
    this.#engines.push(engine)
    engine.onOffersChanged = () => this.#changed()
    engine.onDown = (reason) => {
      this.#log.warn({ engine: engine.kind, reason }, 'engine down')
      this.#changed()
    }
  }

  #changed(): void {
    this.#byName = this.#collect()
    this.onChanged?.()
  }

  /** What the pool is told: models and slots of the engines that work now. One with no model has no slot to give. */
  hello(): Hello {
    const models = [...this.#byName.values()].map(({ offer }) => offer)
    const working = this.#engines.filter((engine) => engine.offers.length > 0)
    const verifies = this.#engines.some((engine) => engine.verify) ? [verifyFeature] : []
    const slots = working.reduce((sum, engine) => sum + engine.slots, 0)
    return {
      agent: this.#agent,
      features: [...new Set(this.#engines.map((engine) => engine.kind)), ...verifies, ...this.#features],
      slots: Math.min(slotsMax, Math.max(1, slots)),
      models: models.slice(0, protocolLimits.modelsPerWorkerMax),
    }
  }

  /** The engine that offers the model, with this very file if `digest` is given. */
  choose(model: string, digest: string | null): Engine | undefined {
    const found = this.#byName.get(model)
    return found && (digest === null || found.offer.digest === digest) ? found.engine : undefined
  }

  /** The first engine to offer a name has it. A name the protocol cannot carry is left out, and said once. */
  #collect(): Map<string, { engine: Engine; offer: ModelOffer }> {
    const byName = new Map<string, { engine: Engine; offer: ModelOffer }>()
    for (const engine of this.#engines) {
      for (const offer of engine.offers) {
        if (byName.has(offer.name)) continue
        if (modelOfferSchema.safeParse(offer).success) byName.set(offer.name, { engine, offer })
        else this.#refuseName(offer.name)
      }
    }
    return byName
  }

  #refuseName(name: string): void {
    if (this.#refusedNames.has(name)) return
    this.#refusedNames.add(name)
    this.#log.warn({ model: name }, 'model left out: its offer is not one a pool accepts')
  }
}
