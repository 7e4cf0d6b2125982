import path from 'node:path'
import { artifactsLimits, type LibraryModel, ModelLibrary } from '#artifacts'
import type { Settings } from '#config'
import type { EventJournal, Metrics, PoolEvents } from '#observability'
import type { RefusalCode, WorkerId } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import {
  decideOffers,
  noOffers,
  type OfferableWorker,
  type OfferRule,
  type OfferState,
  type OpenOffer,
  offerEnded,
  schedulerLimits,
} from '#scheduler'
import type { ConnectedWorker, OfferedFetch, Workers } from '#workers'

interface Options {
  readonly settings: Pick<
    Settings,
    'data' | 'modelLibrary' | 'modelRate' | 'tier' | 'tierWorkers' | 'hotSpare' | 'offerPatience'
  >
  readonly runtime: Runtime
  readonly workers: Pick<Workers, 'list' | 'offerModel' | 'withdrawModel'>
  /** Tells, for one moment, of whom the answers count: nothing was found against them, and they do not fail. */
  readonly trusted: () => (workerId: string) => boolean
  readonly events: PoolEvents
  readonly metrics: Metrics
  readonly journal: Pick<EventJournal, 'add'>
}

/** Offers idle workers the models that tiers lack, out of the files this pool hands out. The decisions are `decideOffers`'. */
export class HandOutModels implements Disposable {
  readonly library: ModelLibrary
  readonly #o: Options
  readonly #rule: OfferRule
  readonly #timer: Timer
  readonly #idleSince = new Map<string, number>()
  #state: OfferState = noOffers

  private constructor(options: Options, models: readonly LibraryModel[]) {
    const { runtime, settings, metrics } = options
    this.#o = options
    const onSent = (bytes: number) => metrics.add('lichen_model_bytes_sent_total', {}, bytes)
    this.library = new ModelLibrary(models, { runtime, bytesPerSecond: settings.modelRate, onSent })
    this.#rule = ruleOf(settings)
    this.#timer = runtime.every(schedulerLimits.offersMs, () => this.#decide())
  }

  /** Reads the library; files are hashed once. @throws PoolError model_unreadable. */
  static async open(options: Options): Promise<HandOutModels> {
    return new HandOutModels(options, await readLibrary(options.settings))
  }

  /** A worker's last word about a model it was offered. */
  fetched(worker: ConnectedWorker, { name, digest }: OfferedFetch, whyNot: RefusalCode | undefined): void {
    const { events, journal } = this.#o
    this.#state = offerEnded(this.#state, worker.id)
    this.library.tickets.revoke(worker.id)
    const outcome = whyNot === undefined ? 'fetched' : 'refused'
    events.modelOffer({ workerId: worker.id, model: name, outcome, why: whyNot })
    journal.add(`model_${outcome}`, worker.id, {
      model: name,
      digest,
      ...(whyNot === undefined ? {} : { why: whyNot }),
    })
    if (whyNot === 'digest_mismatch') void this.#suspect(digest)
  }

  /** It may not lend any more: it fetches nothing more, from this moment, and is not awaited. */
  barred(workerId: string): void {
    this.library.tickets.revoke(workerId)
    const offer = this.#state.open.get(workerId)
    if (!offer) return
    this.#state = offerEnded(this.#state, workerId)
    this.#tell('withdrawn', workerId, offer.model.name, offer.model.digest, 'gone')
  }

  [Symbol.dispose](): void {
    this.#timer.cancel()
  }

  #decide(): void {
    const { settings, runtime, workers } = this.#o
    if (settings.tier.length === 0 || this.library.models.length === 0) return
    const now = runtime.monotonic()
    const here = workers.list().filter((worker) => worker.standing === 'approved')
    const ids = new Set<string>(here.map(({ id }) => id))
    for (const id of this.#idleSince.keys()) if (!ids.has(id)) this.#idleSince.delete(id)
    const trusted = this.#o.trusted()
    const world = {
      tiers: settings.tier,
      library: this.library.models,
      workers: here.map((worker) => this.#seen(worker, trusted(worker.id), now)),
      rule: this.#rule,
    }
    const { state, send, withdraw } = decideOffers(this.#state, world, now)
    this.#state = state
    for (const { worker, model, why } of withdraw) {
      workers.withdrawModel(worker as WorkerId)
      this.library.tickets.revoke(worker)
      this.#tell('withdrawn', worker, model.name, model.digest, why)
    }
    for (const offer of send) this.#send(offer)
  }

  #seen(worker: ConnectedWorker, trusted: boolean, now: number): OfferableWorker {
    const { id, active, slots, draining, room, offers, fetching } = worker
    if (active > 0) this.#idleSince.delete(id)
    else if (!this.#idleSince.has(id)) this.#idleSince.set(id, now)
    return {
      id,
      models: draining ? [] : offers.map(({ name }) => name),
      full: active >= slots,
      trusted,
      room: draining ? undefined : room,
      held: heldBy(worker),
      idleSince: this.#idleSince.get(id),
      fetching: fetching !== undefined,
    }
  }

  #send({ worker, model, drop, again }: OpenOffer & { readonly again: boolean }): void {
    const { runtime, workers } = this.#o
    const { name, digest, bytes } = model
    this.library.tickets.revoke(worker)
    const ticket = this.library.tickets.issue(worker, digest, bytes)
    const expiresMs = artifactsLimits.ticketMs
    const offer = runtime.uuid()
    if (
      ticket === undefined ||
      !workers.offerModel(worker as WorkerId, {
        offer,
        name,
        digest,
        bytes,
        drop: drop.map((old) => old.digest),
        ticket,
        expiresMs,
      })
    )
      return
    this.#tell('offered', worker, name, digest, again ? 'again' : undefined)
  }

  #tell(outcome: 'offered' | 'withdrawn', workerId: string, model: string, digest: string, why?: string): void {
    this.#o.events.modelOffer({ workerId, model, outcome, why })
    this.#o.journal.add(`model_${outcome}`, workerId, { model, digest, ...(why === undefined ? {} : { why }) })
  }

  /** A worker got other bytes than we named: our file may have changed under us. What became of the other files does not matter. */
  async #suspect(digest: string): Promise<void> {
    const { settings, events } = this.#o
    const suspect = this.library.models.find((model) => model.digest === digest)
    if (!suspect) return
    const now = await readLibrary({ ...settings, modelLibrary: [suspect.path] }).catch(() => [])
    if (now.some((model) => model.digest === digest)) return
    this.library.forget(digest)
    events.modelChanged({ digest })
  }
}

/** What it has from the pool. What it does not lend has no name here, and no tier that would miss it. */
function heldBy({ room, offers }: ConnectedWorker): OfferableWorker['held'] {
  return (room?.held ?? []).map(({ digest, bytes }) => {
    return { digest, bytes, name: offers.find((offer) => offer.digest === digest)?.name ?? '' }
  })
}

function ruleOf({ tierWorkers, hotSpare, offerPatience }: Options['settings']): OfferRule {
  const { offerCoolMs: coolMs, offerAwayMs: awayMs, offerMsMax, offersMax } = schedulerLimits
  const patience = { lackMs: offerPatience, settleMs: offerPatience, idleMs: offerPatience }
  return { tierWorkers, hotSpare, ...patience, coolMs, awayMs, offerMsMax, offersMax }
}

/** The single files among the models; one in several parts is not handed out. */
async function readLibrary({ data, modelLibrary }: Pick<Settings, 'data' | 'modelLibrary'>): Promise<LibraryModel[]> {
  if (modelLibrary.length === 0) return []
  const { describeModels } = await import('#engines')
  return describeModels(modelLibrary, path.join(data, 'library-digests.json'))
}
