import { memoryFor } from '#protocol'

/** A tier as far as offers care: any of these models will do, preferred ones first. */
export interface TierWish {
  readonly name: string
  readonly models: readonly string[]
}

/** A model file the pool can hand out. */
export interface OfferableModel {
  readonly name: string
  readonly digest: string
  readonly bytes: number
}

/** A connected worker that may serve, as it is now. */
export interface OfferableWorker {
  readonly id: string
  /** Names of the models it lends; none while it drains. */
  readonly models: readonly string[]
  /** It has no free slot. */
  readonly full: boolean
  /** Its answers count: not frozen, not suspected, its circuit closed. */
  readonly trusted: boolean
  /** What it would take, in bytes; undefined: its owner lets nobody choose models for it, or it drains. */
  readonly room: { readonly diskBytes: number; readonly memoryBytes: number } | undefined
  /** What it has from the pool and could drop for another model. */
  readonly held: readonly OfferableModel[]
  /** It has had nothing to do since then; undefined: it has something to do. */
  readonly idleSince: number | undefined
  /** It was offered a model in this session and has not said its last word. */
  readonly fetching: boolean
}

/** What the pool wants, in workers and milliseconds. */
export interface OfferRule {
  /** Workers a tier needs, however quiet it is. */
  readonly tierWorkers: number
  /** Workers beyond those that are needed. */
  readonly hotSpare: number
  /** A tier lacks a worker for so long before one is asked. */
  readonly lackMs: number
  /** A lack is gone for so long before an offer is withdrawn. */
  readonly settleMs: number
  /** A worker has had nothing to do for so long before it is asked. */
  readonly idleMs: number
  /** From one offer to the next to the same worker. */
  readonly coolMs: number
  /** A worker that left while it fetched is awaited so long. */
  readonly awayMs: number
  /** An offer that came to nothing for so long is withdrawn. */
  readonly offerMsMax: number
  /** Offers that are open at once, over all tiers. */
  readonly offersMax: number
}

export interface OpenOffer {
  readonly worker: string
  readonly tier: string
  readonly model: OfferableModel
  /** What it gives up for it. */
  readonly drop: readonly OfferableModel[]
  readonly since: number
  /** Its worker is not connected. */
  readonly awaySince: number | undefined
}

/** What is remembered from one decision to the next. Times are milliseconds on one clock that only grows. */
export interface OfferState {
  readonly lackSince: ReadonlyMap<string, number>
  /** Since when a tier has had more workers than it wishes for. */
  readonly surplusSince: ReadonlyMap<string, number>
  readonly settledSince: ReadonlyMap<string, number>
  /** By worker: never two for one. */
  readonly open: ReadonlyMap<string, OpenOffer>
  /** When a worker was last offered something. */
  readonly offeredAt: ReadonlyMap<string, number>
}

export const noOffers: OfferState = {
  lackSince: new Map(),
  surplusSince: new Map(),
  settledSince: new Map(),
  open: new Map(),
  offeredAt: new Map(),
}

/** Why an offer is over without the worker's last word. */
export type Withdrawal = OpenOffer & { readonly why: 'settled' | 'gone' | 'too_long' }

export interface OfferDecision {
  readonly state: OfferState
  /** New ones, and those of workers that came back while they fetched: to be sent. */
  readonly send: readonly (OpenOffer & { readonly again: boolean })[]
  readonly withdraw: readonly Withdrawal[]
}

/** The worker has said its last word about what it was offered. */
export function offerEnded(state: OfferState, worker: string): OfferState {
  return { ...state, open: new Map([...state.open].filter(([id]) => id !== worker)) }
}

interface World {
  readonly tiers: readonly TierWish[]
  readonly library: readonly OfferableModel[]
  readonly workers: readonly OfferableWorker[]
  readonly rule: OfferRule
}

/**
 * Which idle worker is offered which model, and which offer is taken back. A tier wishes for as many workers as it needs (those that
 * are full count as needed) and the hot spare beside them. Nothing is decided on a moment: a lack must last, an offer stays until
 * the lack has been gone for a while, a worker that came back goes on with what it was offered, and nobody is asked twice within
 * `coolMs`. A worker without room drops what it has from the pool only where each tier of that model has had one worker more than it wishes
 * for, and goes on having what it wishes for: no offer makes another tier lack one, and that is why this cannot oscillate.
 */
export function decideOffers(state: OfferState, world: World, now: number): OfferDecision {
  const { tiers, rule } = world
  const here = new Map(world.workers.map((worker) => [worker.id, worker]))
  const withdraw: Withdrawal[] = []
  const open = new Map<string, OpenOffer>()
  for (const offer of state.open.values()) {
    const kept = keepOffer(offer, here.get(offer.worker), rule, now)
    if (kept === 'done') continue
    if (typeof kept === 'string') withdraw.push({ ...offer, why: kept })
    else open.set(offer.worker, kept)
  }
  const lackSince = new Map<string, number>()
  const settledSince = new Map<string, number>()
  const offeredAt = new Map([...state.offeredAt].filter(([, at]) => now - at < rule.coolMs))
  const fresh: OpenOffer[] = []
  const surplusSince = new Map<string, number>()
  const lacks = new Map(tiers.map((tier) => [tier.name, wishedFor(tier, world) - lending(tier, world).length]))
  for (const [name, lack] of lacks) if (lack < 0) surplusSince.set(name, state.surplusSince.get(name) ?? now)
  /** Whether every tier of this model can spare the worker, what was dropped or is being dropped counted. */
  const canSpare = (model: OfferableModel) =>
    tiers
      .filter((tier) => tier.models.includes(model.name))
      .every((tier) => {
        const leaving = [...open.values()].filter(({ drop }) =>
          drop.some(({ name }) => tier.models.includes(name)),
        ).length
        const since = surplusSince.get(tier.name)
        return since !== undefined && now - since >= rule.settleMs && (lacks.get(tier.name) ?? 0) + leaving < 0
      })
  for (const tier of tiers) {
    const lack = lacks.get(tier.name) ?? 0
    const waiting = [...open.values()].filter((offer) => offer.tier === tier.name)
    if (lack > 0) lackSince.set(tier.name, state.lackSince.get(tier.name) ?? now)
    if (waiting.length > Math.max(0, lack)) {
      const since = state.settledSince.get(tier.name) ?? now
      settledSince.set(tier.name, since)
      if (now - since < rule.settleMs) continue
      for (const offer of waiting.sort((a, b) => b.since - a.since).slice(0, waiting.length - Math.max(0, lack))) {
        open.delete(offer.worker)
        withdraw.push({ ...offer, why: 'settled' })
      }
    } else if (lack > waiting.length && now - (lackSince.get(tier.name) ?? now) >= rule.lackMs) {
      for (let n = waiting.length; n < lack && open.size < rule.offersMax; n++) {
        const found = chooseOffer(tier, world, canSpare, open, offeredAt, now)
        if (!found) break
        const offer = { ...found, tier: tier.name, since: now, awaySince: undefined }
        open.set(offer.worker, offer)
        offeredAt.set(offer.worker, now)
        fresh.push(offer)
      }
    }
  }
  const again = [...open.values()].filter(
    (offer) => offer.awaySince === undefined && !fresh.includes(offer) && here.get(offer.worker)?.fetching === false,
  )
  return {
    state: { lackSince, surplusSince, settledSince, open, offeredAt },
    send: [...fresh.map((offer) => ({ ...offer, again: false })), ...again.map((offer) => ({ ...offer, again: true }))],
    withdraw,
  }
}

/** What becomes of an offer that is open, before tiers are looked at. It does not tell its worker that it is watched: whoever is frozen drains. */
function keepOffer(
  offer: OpenOffer,
  worker: OfferableWorker | undefined,
  rule: OfferRule,
  now: number,
): OpenOffer | 'done' | Exclude<Withdrawal['why'], 'settled'> {
  if (now - offer.since >= rule.offerMsMax) return 'too_long'
  if (!worker) {
    const awaySince = offer.awaySince ?? now
    return now - awaySince >= rule.awayMs ? 'gone' : { ...offer, awaySince }
  }
  if (worker.models.includes(offer.model.name)) return 'done'
  if (!worker.room) return 'gone'
  return offer.awaySince === undefined ? offer : { ...offer, awaySince: undefined }
}

function lending({ models }: TierWish, { workers }: World): OfferableWorker[] {
  return workers.filter((worker) => worker.trusted && worker.models.some((name) => models.includes(name)))
}

function wishedFor(tier: TierWish, world: World): number {
  const { tierWorkers, hotSpare } = world.rule
  const full = lending(tier, world).filter((worker) => worker.full).length
  return Math.max(tierWorkers, full) + hotSpare
}

/** The worker that has been idle longest among those that lend least, and the first of the tier's models it has room for. */
function chooseOffer(
  { models }: TierWish,
  { library, workers, rule }: World,
  canSpare: (model: OfferableModel) => boolean,
  open: ReadonlyMap<string, OpenOffer>,
  offeredAt: ReadonlyMap<string, number>,
  now: number,
): Pick<OpenOffer, 'worker' | 'model' | 'drop'> | undefined {
  const files = models.flatMap((name) => library.filter((model) => model.name === name).slice(0, 1))
  let best: { worker: OfferableWorker; fit: Fit } | undefined
  for (const worker of workers) {
    const { idleSince } = worker
    if (!worker.trusted || worker.fetching || open.has(worker.id) || offeredAt.has(worker.id)) continue
    if (idleSince === undefined || now - idleSince < rule.idleMs) continue
    if (worker.models.some((name) => models.includes(name))) continue
    const fit = fitFor(worker, files, canSpare)
    if (fit && (!best || comesBefore({ worker, fit }, best))) best = { worker, fit }
  }
  return best && { worker: best.worker.id, ...best.fit }
}

interface Fit {
  readonly model: OfferableModel
  readonly drop: readonly OfferableModel[]
}

/** The first of the files there is room for; else the first there is room for once something is dropped. */
function fitFor(
  { room, held }: OfferableWorker,
  files: readonly OfferableModel[],
  canSpare: (model: OfferableModel) => boolean,
): Fit | undefined {
  if (!room) return undefined
  const fits = (bytes: number, dropped: readonly OfferableModel[]) => {
    const disk = dropped.reduce((sum, model) => sum + model.bytes, room.diskBytes)
    const memory = dropped.reduce((sum, model) => sum + memoryFor(model.bytes), room.memoryBytes)
    return bytes <= disk && memoryFor(bytes) <= memory
  }
  const model = files.find(({ bytes }) => fits(bytes, []))
  if (model) return { model, drop: [] }
  // one at a time: two that are spared alone may be two of the same tier
  for (const model of files) {
    const drop = held.filter((old) => old.digest !== model.digest && fits(model.bytes, [old]))
    const least = drop.filter(canSpare).sort((a, b) => a.bytes - b.bytes)[0]
    if (least) return { model, drop: [least] }
  }
  return undefined
}

/** Who drops nothing comes before who does. */
function comesBefore(a: { worker: OfferableWorker; fit: Fit }, b: { worker: OfferableWorker; fit: Fit }): boolean {
  if (a.fit.drop.length !== b.fit.drop.length) return a.fit.drop.length < b.fit.drop.length
  const [one, other] = [a.worker, b.worker]
  if (one.models.length !== other.models.length) return one.models.length < other.models.length
  if (one.idleSince !== other.idleSince) return (one.idleSince ?? 0) < (other.idleSince ?? 0)
  return one.id < other.id
}
