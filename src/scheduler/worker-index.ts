import assert from 'node:assert/strict'
import { type ModelFeature, type ModelOffer, modelFeatures } from '#protocol'
import { type Admits, Lane, type LaneMember } from './lane.ts'
import { schedulerLimits } from './limits.ts'
import { PrefixAffinity } from './prefix-affinity.ts'

/** What the scheduler must know of a connected worker. */
export interface WorkerCapacity {
  readonly id: string
  /** Runs it computes at once, ≥ 1. */
  readonly slots: number
  /** How much work it deserves compared with others, in (0, 1]: measured speed, later reputation. */
  readonly weight: number
  /** Finishes what runs; is never chosen. */
  readonly draining: boolean
  readonly offers: readonly LaneOffer[]
}

export interface Wish {
  /** Names of the conversation's beginnings ({@link prefixKeys}); their worker is chosen while it has room. */
  readonly prefix?: readonly string[] | undefined
  /** Workers that already failed this run. */
  readonly excluded?: readonly string[] | undefined
  /** Whoever else may not have it. */
  readonly admits?: Admits | undefined
  /** A worker that has yet to prove itself is preferred, where one has room. */
  readonly newcomer?: boolean | undefined
}

interface Entry {
  worker: WorkerCapacity
  active: number
  /** Runs that all workers had been given when it got its latest; 0: it had none. */
  lastTurn: number
  /** What it adds to the index's slots, and to those that are free. */
  slots: number
  free: number
  members: LaneMember[]
}

/**
 * What a lane can ask for: features of a model, that its worker takes orders which the pool signs as custodian, and that prompts stay
 * inside the pool there, that it has yet to prove itself, that it is not the pool's own.
 */
export type LaneFeature = ModelFeature | 'custodial' | 'inside' | 'newcomer' | 'here' | 'lent'
const laneFeatures: readonly LaneFeature[] = [...modelFeatures, 'custodial', 'inside', 'newcomer', 'here', 'lent']

/** An offer as the index sees it. */
export interface LaneOffer extends Pick<ModelOffer, 'name' | 'digest'> {
  readonly features: readonly LaneFeature[]
  /** Its kernel class, where that was measured. */
  readonly kernel?: string | undefined
  /** 0 unless given: whoever is in a higher one has work only when all those below are full. */
  readonly tier?: number | undefined
}

/** Above every cost: one run on one slot of the least weight. */
const tierCost = 1e9

/** The set of features as bits, in the order of {@link laneFeatures}. */
export function featureBits(features: readonly LaneFeature[]): number {
  let bits = 0
  for (const feature of features) bits |= 1 << laneFeatures.indexOf(feature)
  return bits
}

/**
 * The names under which an offer is found: the model, the model with its file (or with none to show), the file alone, the model with file
 * and kernel class.
 */
function modelKeys({ name, digest, kernel }: Pick<LaneOffer, 'name' | 'digest' | 'kernel'>): readonly string[] {
  if (digest === null) return [name, `${name}@`]
  const keys = [name, `${name}@${digest}`, `@${digest}`]
  return kernel === undefined ? keys : [...keys, `${name}@${digest}#${kernel}`]
}

const newcomerBit = featureBits(['newcomer'])

/** Whether an offer is what a lane asks for. */
export function suits(offer: LaneOffer, lane: Lane): boolean {
  return modelKeys(offer).includes(lane.modelKey) && (featureBits(offer.features) & lane.features) === lane.features
}

/** Load after one more run, relative to what the worker is good for; `Infinity` when it has no room. */
export function costOf(worker: Pick<WorkerCapacity, 'slots' | 'weight'>, active: number): number {
  return active < worker.slots ? (active + 1) / (worker.slots * worker.weight) : Number.POSITIVE_INFINITY
}

/** Newcomers take turns: whoever waited longest is first, so that none whose answers are never checked stands before the others for ever. */
function costIn(lane: Lane, tier: number, { worker, active, lastTurn }: Entry): number {
  const cost = costOf(worker, active) + tier * tierCost
  return (lane.features & newcomerBit) === 0 || cost === Number.POSITIVE_INFINITY ? cost : lastTurn
}

/**
 * Which worker should compute the next run: the one whose relative load would be lowest, or the one that still holds
 * the conversation. A decision and its bookkeeping cost O(log workers); no clock, no dice.
 */
export class WorkerIndex {
  readonly #entries = new Map<string, Entry>()
  readonly #byModel = new Map<string, Set<Entry>>()
  /** By model key, then by features. */
  readonly #lanes = new Map<string, Map<number, Lane>>()
  #laneCount = 0
  #slots = 0
  #freeSlots = 0
  #turns = 0
  readonly #affinity: PrefixAffinity

  constructor(affinity = new PrefixAffinity()) {
    this.#affinity = affinity
  }

  get size(): number {
    return this.#entries.size
  }

  /** Runs that all workers together compute at once, draining ones left out. */
  get slots(): number {
    return this.#slots
  }

  /** Runs that could start right now, all workers and models together. */
  get freeSlots(): number {
    return this.#freeSlots
  }

  /** Adds a worker or takes over what changed about it. Runs it already has stay counted. */
  upsert(worker: WorkerCapacity): void {
    assert(worker.slots >= 1 && worker.weight > 0 && worker.weight <= 1, 'slots ≥ 1, weight in (0, 1]')
    const entry = this.#entries.get(worker.id)
    if (entry === undefined) {
      const added: Entry = { worker, active: 0, lastTurn: 0, slots: 0, free: 0, members: [] }
      this.#entries.set(worker.id, added)
      this.#list(added)
    } else if (entry.worker.offers === worker.offers && entry.worker.draining === worker.draining) {
      entry.worker = worker
      this.#reprice(entry)
    } else {
      this.#unlist(entry)
      entry.worker = worker
      this.#list(entry)
    }
  }

  remove(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#unlist(entry)
    this.#entries.delete(id)
  }

  get(id: string): WorkerCapacity | undefined {
    return this.#entries.get(id)?.worker
  }

  /** Runs taken and not released. */
  activeOf(id: string): number {
    return this.#entries.get(id)?.active ?? 0
  }

  hasRoom(id: string): boolean {
    const entry = this.#entries.get(id)
    return entry !== undefined && !entry.worker.draining && entry.active < entry.worker.slots
  }

  /** One run more. */
  take(id: string): void {
    const entry = this.#entries.get(id)
    assert(entry !== undefined && entry.active < entry.worker.slots, 'a run needs a worker with room')
    entry.active++
    entry.lastTurn = ++this.#turns
    this.#reprice(entry)
  }

  /** One run less. A worker that left in between has nothing to release. */
  release(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined || entry.active === 0) return
    entry.active--
    this.#reprice(entry)
  }

  /** The workers for a model key that offer at least `features` (bits). The same object until it is pruned. */
  lane(modelKey: string, features: number): Lane {
    const lanes = this.#lanes.get(modelKey) ?? new Map<number, Lane>()
    const known = lanes.get(features)
    if (known !== undefined) return known
    const lane = new Lane(modelKey, features)
    this.#lanes.set(modelKey, lanes.set(features, lane))
    this.#laneCount++
    for (const entry of this.#byModel.get(modelKey) ?? []) this.#join(entry, lane)
    return lane
  }

  /** Lanes a worker stands in. */
  *lanesOf(id: string): Generator<Lane> {
    for (const member of this.#entries.get(id)?.members ?? []) yield member.lane
  }

  /** Whether any worker offers the model, whatever else is asked of it. */
  offers(modelKey: string): boolean {
    return this.#byModel.has(modelKey)
  }

  isIn(lane: Lane, id: string): boolean {
    return this.#entries.get(id)?.members.some((member) => member.lane === lane) ?? false
  }

  /** The worker for one run in this lane, or `undefined` when none has room. Changes nothing; {@link take} does. */
  choose(lane: Lane, wish: Wish = {}): string | undefined {
    if (wish.newcomer) {
      const id = this.lane(lane.modelKey, lane.features | newcomerBit).cheapest(wish.excluded, wish.admits)
      if (id !== undefined) return id
    }
    for (const prefix of wish.prefix ?? []) {
      const id = this.#affinity.workerOf(prefix)
      if (id === undefined || wish.excluded?.includes(id)) continue
      if (this.hasRoom(id) && this.isIn(lane, id)) return id
    }
    return lane.cheapest(wish.excluded, wish.admits)
  }

  /** The worker now holds these prefixes. */
  remember(prefix: readonly string[], id: string): void {
    this.#affinity.remember(prefix, id)
  }

  /** Forgets lanes beyond the limit that `keep` does not need. */
  prune(keep: (lane: Lane) => boolean, lanesMax: number = schedulerLimits.lanesMax): void {
    if (this.#laneCount <= lanesMax) return
    const dropped = new Set<Lane>()
    for (const [modelKey, lanes] of this.#lanes) {
      for (const [features, lane] of lanes) {
        if (keep(lane)) continue
        dropped.add(lane)
        lanes.delete(features)
      }
      if (lanes.size === 0) this.#lanes.delete(modelKey)
    }
    this.#laneCount -= dropped.size
    for (const entry of this.#entries.values()) {
      entry.members = entry.members.filter((member) => !dropped.has(member.lane))
    }
  }

  #list(entry: Entry): void {
    this.#countSlots(entry)
    if (entry.worker.draining) return
    for (const key of new Set(entry.worker.offers.flatMap(modelKeys))) {
      const entries = this.#byModel.get(key)
      if (entries) entries.add(entry)
      else this.#byModel.set(key, new Set([entry]))
      for (const lane of this.#lanes.get(key)?.values() ?? []) this.#join(entry, lane)
    }
  }

  #unlist(entry: Entry): void {
    this.#countSlots(entry, true)
    for (const member of entry.members) member.lane.remove(member)
    entry.members = []
    for (const key of new Set(entry.worker.offers.flatMap(modelKeys))) {
      const entries = this.#byModel.get(key)
      entries?.delete(entry)
      if (entries?.size === 0) this.#byModel.delete(key)
    }
  }

  #join(entry: Entry, lane: Lane): void {
    const tiers = entry.worker.offers.filter((offer) => suits(offer, lane)).map(({ tier = 0 }) => tier)
    if (tiers.length === 0) return
    const tier = Math.min(...tiers)
    entry.members.push(lane.add(entry.worker.id, costIn(lane, tier, entry), tier))
  }

  #countSlots(entry: Entry, gone = entry.worker.draining): void {
    this.#slots -= entry.slots
    this.#freeSlots -= entry.free
    entry.slots = gone ? 0 : entry.worker.slots
    entry.free = Math.max(0, entry.slots - entry.active)
    this.#slots += entry.slots
    this.#freeSlots += entry.free
  }

  #reprice(entry: Entry): void {
    this.#countSlots(entry)
    for (const member of entry.members) member.lane.update(member, costIn(member.lane, member.tier, entry))
  }
}
