import type { BudgetLeft } from '#ledger'
import type { Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import { durationText } from './duration-text.ts'
import type { ApiLimits } from './limits.ts'
import { retryAfterOf } from './refusal-headers.ts'

const minuteMs = 60_000

/** What is known of a key's minute of the UTC clock. */
interface Minute {
  /** Let in here: taken on, or not decided yet. */
  entered: number
  /** Taken on in all processes of the pool, as far as the ledger has said: at least so many. */
  used: number
  /** Let in here, and not taken on: refused for whatever reason, or answered from memory. */
  idle: number
  resetsAt: number
}

/**
 * Requests per minute of each key, in front of the ledger, which alone counts them for all processes of the pool. What
 * the ledger would refuse is refused here, before a body is read, as far as this process knows: never with an earlier
 * time than the ledger's, which is the end of the minute. A minute that is forgotten, in a restart too, is asked for again.
 */
export class RequestRate {
  readonly #runtime: Runtime
  readonly #limits: Pick<ApiLimits, 'ratedKeysMax' | 'idleRequestsMin'>
  readonly #minutes = new Map<string, Minute>()
  #minute = 0

  constructor(runtime: Runtime, limits: Pick<ApiLimits, 'ratedKeysMax' | 'idleRequestsMin'>) {
    this.#runtime = runtime
    this.#limits = limits
  }

  get size(): number {
    return this.#minutes.size
  }

  /** A request of this key knocks. `perMinute` ≥ 1. */
  enter(key: string, perMinute: number): Turn {
    const minute = this.minuteOf(key)
    const turn = new Turn(this, key, perMinute, minute)
    if (turn.isLetIn) minute.entered += 1
    return turn
  }

  /** What a key that may send `perMinute` has left. Requests that were not taken on cost it nothing, as long as they are no flood. */
  leftIn({ entered, used, idle }: Minute, perMinute: number): number {
    if (idle >= Math.max(perMinute, this.#limits.idleRequestsMin)) return 0
    return Math.max(0, perMinute - Math.max(entered, used))
  }

  /** Until a time, milliseconds. */
  until(time: number): number {
    return Math.max(1, time - this.#runtime.now())
  }

  /** This minute of the key, or a later one that the ledger counts in already: clocks of processes differ. */
  minuteOf(key: string): Minute {
    const now = Math.floor(this.#runtime.now() / minuteMs)
    if (now !== this.#minute) this.#minutes.clear()
    this.#minute = now
    const known = this.#minutes.get(key)
    if (known) return known
    const oldest = this.#minutes.keys().next()
    if (this.#minutes.size >= this.#limits.ratedKeysMax && !oldest.done) this.#minutes.delete(oldest.value)
    return this.begin(key, (now + 1) * minuteMs)
  }

  /** Another minute of the key. Requests of the one before that are not decided yet give their places back there. */
  begin(key: string, resetsAt: number): Minute {
    const fresh = { entered: 0, used: 0, idle: 0, resetsAt }
    this.#minutes.set(key, fresh)
    return fresh
  }
}

/**
 * One request of a key with a limit.
 *
 *   let in ──▶ taken on      it counts
 *         └──▶ not taken on  it never counted
 */
export class Turn {
  readonly limit: number
  readonly isLetIn: boolean
  readonly #rate: RequestRate
  readonly #key: string
  readonly #minute: Minute
  #undecided: boolean

  constructor(rate: RequestRate, key: string, limit: number, minute: Minute) {
    this.#rate = rate
    this.#key = key
    this.limit = limit
    this.#minute = minute
    this.isLetIn = rate.leftIn(minute, limit) > 0
    this.#undecided = this.isLetIn
  }

  /** The ledger has counted it. */
  taken(left: BudgetLeft | undefined): void {
    this.#undecided = false
    this.#hear(left)
  }

  /** It is refused, or was answered before; `left` where the ledger said so. Nothing, once it was taken on. */
  notTaken(left?: BudgetLeft): void {
    this.#hear(left)
    if (!this.#undecided) return
    this.#undecided = false
    this.#minute.entered -= 1
    this.#minute.idle += 1
  }

  /** Until the key may send as many as ever, milliseconds. */
  get resetMs(): number {
    return this.#rate.until(this.#rate.minuteOf(this.#key).resetsAt)
  }

  /** `x-ratelimit-*` as OpenAI writes them, as things are now. */
  headers(): string[] {
    return [
      'x-ratelimit-limit-requests',
      String(this.limit),
      'x-ratelimit-remaining-requests',
      String(this.#left),
      'x-ratelimit-reset-requests',
      durationText(this.resetMs),
    ]
  }

  /** The refusal, telling nobody to come back before the key may send a request. */
  notBefore(refusal: Refusal): Refusal {
    const retryAfterMs = retryAfterOf(refusal)
    if (retryAfterMs === undefined || this.#left > 0) return refusal
    return { ...refusal, retryAfterMs: Math.max(retryAfterMs, this.resetMs) }
  }

  get #left(): number {
    return this.#rate.leftIn(this.#rate.minuteOf(this.#key), this.limit)
  }

  #hear(left: BudgetLeft | undefined): void {
    if (!left || left.requests === null) return
    const minute = this.#rate.minuteOf(this.#key)
    if (left.minuteResetsAt < minute.resetsAt) return
    const counted = left.minuteResetsAt > minute.resetsAt ? this.#rate.begin(this.#key, left.minuteResetsAt) : minute
    counted.used = Math.max(counted.used, this.limit - left.requests)
  }
}
