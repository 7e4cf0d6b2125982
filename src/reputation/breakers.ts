import type { Runtime, Timer } from '#runtime'
import { type Database, databaseError, type Tx } from '#storage'
import { type Breaker, breakerAfter, closedBreaker, type Fault, runsAllowed } from './breaker.ts'
import { reputationLimits } from './limits.ts'

/** How a run ended. `lost`: its worker went away in the middle of it. */
export type RunEnding = 'success' | 'lost' | Fault

export interface CircuitChange {
  readonly workerId: string
  readonly event: 'circuit_opened' | 'circuit_closed'
  readonly why: Fault | undefined
  /** How long it gets no work. */
  readonly pauseMs: number
}

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  readonly onEvent: (change: CircuitChange) => void
  /** It may have more or less work from now on; all of them when undefined. */
  readonly onChange: (workerId: string | undefined) => void
  readonly onProblem: (error: unknown) => void
}

interface Row {
  readonly workerId: string
  readonly why: Fault
  readonly until: number
  readonly pauseMs: number
}

/** In place of a worker's id. */
const everybody = '*'

/**
 * The circuits of all workers: in memory, and on record while they are not closed, so that a restart heals nobody and
 * every pool process on one database knows. Points below the opening are each process's own.
 */
export class Breakers implements Disposable {
  readonly #o: Options
  readonly #breakers = new Map<string, Breaker>()
  readonly #lostAt = new Map<string, number>()
  /** Changed here, and not on record yet. */
  readonly #unsaved = new Set<string>()
  readonly #timers = new Map<string, Timer>()
  readonly #stop: () => void
  #queue: Promise<void> = Promise.resolve()

  private constructor(options: Options) {
    this.#o = options
    const { database } = options
    const listener = database.listen(
      'lichen_breakers',
      (id) => (id === everybody ? this.#forgetAll() : this.#read(id)),
      () => this.#read(undefined),
    )
    this.#stop = () => listener.stop()
  }

  /** @throws PoolError database_unavailable. */
  static async open(options: Options): Promise<Breakers> {
    const breakers = new Breakers(options)
    try {
      await breakers.#load(undefined)
    } catch (error) {
      breakers[Symbol.dispose]()
      throw databaseError(error)
    }
    return breakers
  }

  /** A run ended there. A session that breaks under many runs is one fault. */
  ended(workerId: string, how: RunEnding): void {
    const now = this.#o.runtime.now()
    if (how === 'lost') {
      const before = this.#lostAt.get(workerId)
      this.#lostAt.set(workerId, now)
      if (before !== undefined && now - before < reputationLimits.lostOnceMs) return
    }
    const before = this.#breakers.get(workerId) ?? closedBreaker
    const { breaker, event } = breakerAfter(before, how === 'lost' ? 'error' : how, now)
    this.#keep(workerId, breaker)
    if (!event) return
    const opened = breaker.circuit === 'open' ? breaker : undefined
    this.#o.onEvent({ workerId, event, why: opened?.why, pauseMs: opened?.pauseMs ?? 0 })
    this.#o.onChange(workerId)
    this.#unsaved.add(workerId)
    this.#do(() => this.#record(workerId, breaker).finally(() => this.#unsaved.delete(workerId)))
  }

  /** Runs it may have at once, as far as its circuit goes. */
  runsAllowed(workerId: string): number {
    const breaker = this.#breakers.get(workerId)
    return breaker ? runsAllowed(breaker, Number.MAX_SAFE_INTEGER, this.#o.runtime.now()) : Number.MAX_SAFE_INTEGER
  }

  circuitOf(workerId: string): Breaker['circuit'] {
    const runs = this.runsAllowed(workerId)
    return runs === 0 ? 'open' : runs === 1 ? 'half_open' : 'closed'
  }

  /** An admin's reset, in the transaction of the act; every process hears of it when it commits. */
  async reset(tx: Tx, workerId: string): Promise<void> {
    await tx`delete from breakers where worker_id = ${workerId}`
    await tx`select pg_notify('lichen_breakers', ${workerId})`
  }

  /** Closes every circuit, in the transaction of the act. Returns how many were not closed. */
  async resetAll(tx: Tx): Promise<number> {
    const rows = await tx`delete from breakers returning worker_id`
    await tx`select pg_notify('lichen_breakers', ${everybody})`
    return rows.length
  }

  /** Resolves when what was decided and heard so far is written and read. */
  settled(): Promise<void> {
    return this.#queue
  }

  [Symbol.dispose](): void {
    this.#stop()
    for (const timer of this.#timers.values()) timer.cancel()
  }

  /** The points of circuits that are closed go, too. */
  #forgetAll(): void {
    for (const id of [...this.#breakers.keys()]) if (!this.#unsaved.has(id)) this.#keep(id, closedBreaker)
    this.#read(undefined)
  }

  #keep(workerId: string, breaker: Breaker): void {
    this.#timers.get(workerId)?.cancel()
    this.#timers.delete(workerId)
    if (breaker.circuit === 'closed' && breaker.points === 0) this.#breakers.delete(workerId)
    else this.#breakers.set(workerId, breaker)
    if (breaker.circuit !== 'open') return
    const ms = Math.max(0, breaker.untilMs - this.#o.runtime.now()) + 1
    this.#timers.set(
      workerId,
      this.#o.runtime.after(ms, () => this.#o.onChange(workerId)),
    )
  }

  async #record(workerId: string, breaker: Breaker): Promise<void> {
    const { sql } = this.#o.database
    if (breaker.circuit === 'closed') await sql`delete from breakers where worker_id = ${workerId}`
    else if (breaker.circuit === 'open') {
      const { why, untilMs, pauseMs } = breaker
      await sql`
        insert into breakers (worker_id, why, until, pause_ms)
        values (${workerId}, ${why}, ${untilMs}::timestamptz, ${pauseMs})
        on conflict (worker_id) do update set why = excluded.why, until = excluded.until, pause_ms = excluded.pause_ms`
    }
  }

  #read(workerId: string | undefined): void {
    this.#do(() => this.#load(workerId))
  }

  #do(work: () => Promise<void>): void {
    this.#queue = this.#queue.then(work).catch((error: unknown) => this.#o.onProblem(error))
  }

  /** What is on record counts, for circuits that are not closed; a row that is gone closes one. */
  async #load(workerId: string | undefined): Promise<void> {
    const { sql } = this.#o.database
    const rows = await sql<Row[]>`
      select worker_id as "workerId", why, until, pause_ms as "pauseMs" from breakers
       where ${workerId ?? null}::text is null or worker_id = ${workerId ?? null}::text`
    const there = new Map(rows.map((row) => [row.workerId, row]))
    const known = workerId === undefined ? [...this.#breakers.keys()] : [workerId]
    for (const id of known) {
      const isTold = id === workerId || this.#breakers.get(id)?.circuit !== 'closed'
      if (isTold && !there.has(id) && !this.#unsaved.has(id)) this.#keep(id, closedBreaker)
    }
    for (const { workerId: id, why, until, pauseMs } of rows) {
      const mine = this.#breakers.get(id)
      if (mine?.circuit === 'half_open' || this.#unsaved.has(id)) continue
      this.#keep(id, { circuit: 'open', why, untilMs: until, pauseMs })
    }
    this.#o.onChange(workerId)
  }
}
