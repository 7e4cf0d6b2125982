import { FairQueue, type Fullness, type Ticket } from './fair-queue.ts'
import type { Admits, Lane } from './lane.ts'
import { schedulerLimits } from './limits.ts'
import type { PrefixAffinity } from './prefix-affinity.ts'
import { type Wish, WorkerIndex } from './worker-index.ts'

/** Who asks, and what it may cost. */
export interface Ask {
  readonly key: string
  /** Expected cost in the unit that `charge` corrects in. */
  readonly cost: number
  readonly prefix?: readonly string[] | undefined
}

/** A run on its second attempt: it was paid for when it was first served, so it goes before all that wait. */
export interface Urgent<T> {
  readonly item: T
  readonly lane: Lane
  readonly excluded: readonly string[]
  /** Asked again whenever a worker has room. */
  readonly admits?: Admits | undefined
}

/** What {@link Scheduler.submit} and {@link Scheduler.resubmit} did. */
export type Placement<W> = { readonly workerId: string } | { readonly waiting: W }

/**
 * Matches runs with workers. Pure: the caller starts what it is told to start and says what ended.
 *
 * Always  no run waits in a lane while a worker of that lane (not excluded) has room, provided the caller asks
 *         {@link next} until it gets nothing whenever a worker gained room.
 */
export class Scheduler<T> {
  readonly workers: WorkerIndex
  readonly #queue: FairQueue<Lane, T>
  readonly #urgent = new Map<Lane, Set<Urgent<T>>>()
  /** Running average of what runs are expected to cost. */
  #meanCost = 0

  constructor(
    options: { totalMax?: number | undefined; perKeyMax?: number | undefined; affinity?: PrefixAffinity } = {},
  ) {
    this.workers = new WorkerIndex(options.affinity)
    this.#queue = new FairQueue(options)
  }

  /** Runs waiting for their first attempt. */
  get waiting(): number {
    return this.#queue.size
  }

  /** Runs admitted and not started. */
  get admitted(): number {
    return this.#queue.admitted
  }

  admit(key: string, weight: number, runs: number): Fullness | undefined {
    return this.#queue.admit(key, weight, runs, this.workers.freeSlots)
  }

  withdraw(key: string, runs: number): void {
    if (runs > 0) this.#queue.withdraw(key, runs)
  }

  /** Places an admitted run on a worker, which is taken, or lets it wait. A run that need not wait is not charged. */
  submit(lane: Lane, ask: Ask, item: T): Placement<Ticket<Lane, T>> {
    this.#meanCost += (ask.cost - this.#meanCost) / 64
    const workerId = this.#queue.rank(lane) === undefined ? this.#take(lane, { prefix: ask.prefix }) : undefined
    if (workerId === undefined) return { waiting: this.#queue.push(lane, ask.key, ask.cost, item) }
    this.#queue.withdraw(ask.key)
    return { workerId }
  }

  /** Places a run again, on a worker that has not failed it, or lets it wait before all others of the lane. */
  resubmit(lane: Lane, excluded: readonly string[], item: T, admits?: Admits): Placement<Urgent<T>> {
    const workerId = this.#take(lane, { excluded, admits })
    if (workerId !== undefined) return { workerId }
    const waiting: Urgent<T> = { item, lane, excluded, admits }
    const others = this.#urgent.get(lane)
    if (others) others.add(waiting)
    else this.#urgent.set(lane, new Set([waiting]))
    return { waiting }
  }

  cancel(waiting: Ticket<Lane, T> | Urgent<T>): boolean {
    return 'excluded' in waiting ? this.#dropUrgent(waiting) : this.#queue.cancel(waiting)
  }

  /** The run that a worker with room should start now; it is taken. Call until `undefined`. */
  next(workerId: string): { readonly item: T; readonly charged: boolean } | undefined {
    if (!this.workers.hasRoom(workerId)) return undefined
    const urgent = this.#urgentFor(workerId)
    if (urgent) {
      this.#dropUrgent(urgent)
      this.workers.take(workerId)
      return { item: urgent.item, charged: false }
    }
    const lane = this.#mostBehind(workerId)
    const item = lane && this.#queue.pop(lane)
    if (item === undefined) return undefined
    this.workers.take(workerId)
    return { item, charged: true }
  }

  /** What a served run cost beyond its estimate; may be negative. */
  charge(key: string, cost: number): void {
    this.#queue.charge(key, cost)
  }

  /** To be called now and then: forgets lanes nobody needs, and fits the allowance of keys to the pool's size. */
  tidy(): void {
    this.#queue.allowance = this.#meanCost * this.workers.slots * schedulerLimits.aheadShare
    this.workers.prune((lane) => this.#queue.rank(lane) !== undefined || this.#urgent.has(lane))
  }

  #take(lane: Lane, wish: Wish): string | undefined {
    const newcomer = ++lane.placed % schedulerLimits.newcomerEvery === 0
    const workerId = this.workers.choose(lane, { ...wish, newcomer })
    if (workerId !== undefined) this.workers.take(workerId)
    return workerId
  }

  #urgentFor(workerId: string): Urgent<T> | undefined {
    if (this.#urgent.size === 0) return undefined
    for (const lane of this.workers.lanesOf(workerId)) {
      for (const urgent of this.#urgent.get(lane) ?? []) {
        if (!urgent.excluded.includes(workerId) && (urgent.admits?.(workerId) ?? true)) return urgent
      }
    }
    return undefined
  }

  #dropUrgent(urgent: Urgent<T>): boolean {
    const others = this.#urgent.get(urgent.lane)
    const dropped = others?.delete(urgent) ?? false
    if (others?.size === 0) this.#urgent.delete(urgent.lane)
    return dropped
  }

  #mostBehind(workerId: string): Lane | undefined {
    if (this.#queue.size === 0) return undefined
    let least = Number.POSITIVE_INFINITY
    let found: Lane | undefined
    for (const lane of this.workers.lanesOf(workerId)) {
      const rank = this.#queue.rank(lane)
      if (rank !== undefined && rank < least) {
        least = rank
        found = lane
      }
    }
    return found
  }
}
