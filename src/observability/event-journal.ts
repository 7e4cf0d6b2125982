import type { Runtime, Timer } from '#runtime'
import { type Database, fromDatabase, numbers, texts } from '#storage'
import { observabilityLimits } from './limits.ts'

export const eventTypes = [
  'worker_joined',
  'worker_left',
  'circuit_opened',
  'circuit_closed',
  'worker_blocked',
  'worker_unblocked',
  'workers_rotated',
  'peer_handshake',
  'overview',
  'peer_status',
  'witness_silent',
  'witness_back',
  'model_offered',
  'model_fetched',
  'model_refused',
  'model_withdrawn',
] as const
export type EventType = (typeof eventTypes)[number]

export interface PoolEvent {
  readonly type: EventType
  /** Whom it happened to: id of a worker or pool, an operator, a network. */
  readonly subject: string
  /** Milliseconds since 1970. */
  readonly at: number
  /** Never a prompt, a reply or a secret. */
  readonly details: Readonly<Record<string, string | number | boolean>>
}

export interface EventQuery {
  /** All unless given. */
  readonly types?: readonly EventType[]
  /** Not before, milliseconds since 1970. */
  readonly since?: number
  /** The last one of the page before. */
  readonly after?: string
  /** Of these types only what is about this one. */
  readonly only?: { readonly types: readonly EventType[]; readonly subject: string }
  /** The newest ones, newest first, instead of the oldest. */
  readonly newest?: boolean
  /** Rows, 1 … {@link observabilityLimits.eventsPageMax}, and one more to see whether there are more. */
  readonly limit: number
}

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  readonly onProblem: (error: unknown) => void
}

/**
 * Keeps what happened for 30 days. Telling it waits for nothing: events go to the database a second later, all in one
 * statement, and the oldest are given up when it does not answer. Not part of the transparency log, and proof of nothing.
 */
export class EventJournal implements AsyncDisposable {
  readonly #o: Options
  readonly #timers: readonly Timer[]
  #waiting: PoolEvent[] = []
  #writing: Promise<void> = Promise.resolve()

  constructor(options: Options) {
    this.#o = options
    const { runtime } = options
    this.#timers = [
      runtime.every(observabilityLimits.eventWriteMs, () => void this.flush()),
      runtime.every(observabilityLimits.eventPruneMs, () => this.#prune().catch(options.onProblem)),
    ]
  }

  add(type: EventType, subject: string, details: PoolEvent['details'] = {}): void {
    this.#waiting.push({ type, subject, at: this.#o.runtime.now(), details })
    if (this.#waiting.length > observabilityLimits.eventsWaitingMax) this.#waiting.shift()
  }

  /** Resolves when everything told so far is on record, or was tried. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write())
    return this.#writing
  }

  /** Oldest first; `id` names an event for the next page. @throws PoolError database_unavailable. */
  async read({
    types,
    since,
    after,
    only,
    newest = false,
    limit,
  }: EventQuery): Promise<(PoolEvent & { readonly id: string })[]> {
    const { sql } = this.#o.database
    const rows = await fromDatabase(sql<(PoolEvent & { id: string })[]>`
      select seq::text as id, type, subject, at, details from events
       where seq > ${BigInt(after ?? 0)}
         and at >= ${since ?? 0}::timestamptz
         and type = any(${texts(types ?? eventTypes)}::text[])
         and (subject = ${only?.subject ?? ''} or not type = any(${texts(only?.types ?? [])}::text[]))
       order by seq ${newest ? sql`desc` : sql`asc`} limit ${Math.min(limit, observabilityLimits.eventsPageMax + 1)}`)
    return [...rows]
  }

  async #write(): Promise<void> {
    const events = this.#waiting
    if (events.length === 0) return
    this.#waiting = []
    try {
      await this.#o.database.sql`
        insert into events (type, subject, at, details)
        select type, subject, to_timestamp(ms / 1000.0), details
          from unnest(${texts(events.map(({ type }) => type))}::text[],
                      ${texts(events.map(({ subject }) => subject))}::text[],
                      ${numbers(events.map(({ at }) => at))}::float8[],
                      ${texts(events.map(({ details }) => JSON.stringify(details)))}::jsonb[])
            with ordinality as told (type, subject, ms, details, n)
         order by n`
    } catch (error) {
      this.#waiting = [...events, ...this.#waiting].slice(-observabilityLimits.eventsWaitingMax)
      this.#o.onProblem(error)
    }
  }

  async #prune(): Promise<void> {
    const before = this.#o.runtime.now() - observabilityLimits.eventsKeptMs
    await this.#o.database.sql`delete from events where at < ${before}::timestamptz`
  }

  /** Writes what it was told. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) timer.cancel()
    await this.flush()
  }
}
