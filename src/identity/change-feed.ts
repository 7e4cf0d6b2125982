import type { Runtime } from '#runtime'
import type { Database, Sql } from '#storage'
import { identityLimits } from './limits.ts'

/** Select item for {@link Changed.revision}; `t` is the table's name or alias. */
export const revisionOf = (t: string) => `(extract(epoch from ${t}.changed_at) * 1000000)::bigint as revision`

/** Condition for rows changed since a revision, lately for null. */
export const changedSince = (sql: Sql, t: string, since: bigint | null) => sql`
  ${sql.unsafe(t)}.changed_at > coalesce(
    timestamptz 'epoch' + ${since}::bigint * interval '1 microsecond', clock_timestamp() - interval '10 seconds')`

interface Changed {
  readonly id: string
  /** When it changed, by the server's clock, in microseconds: later states of a row have greater ones. */
  readonly revision: bigint
}

/**
 * Follows changes of one table: at once by NOTIFY, within a second by asking, which also finds what was missed while
 * the connection was away. Each state of a row is told once, unless nobody remembers it any more.
 */
export class ChangeFeed<R extends Changed> implements Disposable {
  readonly #read: (since: bigint | null) => Promise<readonly R[]>
  readonly #onChange: (row: R, news: boolean) => void
  readonly #told = new Map<string, Changed>()
  readonly #stops: (() => void)[] = []
  #since: bigint | null = null
  /** The first answer holds what was changed before anybody followed here. */
  #caughtUp = false
  #asking = false
  #askAgain = false
  #stopped = false

  /**
   * `read` answers rows changed since (null: lately), oldest first, at most {@link identityLimits.changesMax}. What changed before this feed
   * began is told, too, for whoever came in meanwhile with an older state; it is no news.
   */
  constructor(options: {
    readonly database: Database
    readonly runtime: Runtime
    readonly channel: string
    readonly read: (since: bigint | null) => Promise<readonly R[]>
    readonly onChange: (row: R, news: boolean) => void
  }) {
    this.#read = options.read
    this.#onChange = options.onChange
    const listener = options.database.listen(
      options.channel,
      () => this.ask(),
      () => this.ask(),
    )
    const timer = options.runtime.every(identityLimits.changesPollMs, () => this.ask())
    this.#stops.push(
      () => listener.stop(),
      () => timer.cancel(),
    )
  }

  /** Reads what is new; while an answer is on its way, once more after it. */
  ask(): void {
    if (this.#asking) this.#askAgain = true
    else void this.#ask()
  }

  async #ask(): Promise<void> {
    this.#asking = true
    try {
      do {
        this.#askAgain = false
        const rows = await this.#read(this.#since)
        for (const row of rows) this.#tell(row)
        this.#caughtUp = true
        this.#forget()
      } while (this.#askAgain && !this.#stopped)
    } catch {
      // the database is away; the timer or the listener's return asks again
    } finally {
      this.#asking = false
    }
  }

  #tell(row: R): void {
    if (this.#stopped || this.#told.get(row.id)?.revision === row.revision) return
    this.#told.set(row.id, row)
    this.#onChange(row, this.#caughtUp)
  }

  /** Moves on: what is older than the overlap will not be read again. */
  #forget(): void {
    if (this.#told.size === 0) return
    let newest = 0n
    for (const { revision } of this.#told.values()) if (revision > newest) newest = revision
    const since = newest - BigInt(identityLimits.changesOverlapMs) * 1_000n
    for (const [id, { revision }] of this.#told) if (revision < since) this.#told.delete(id)
    this.#since = since
  }

  [Symbol.dispose](): void {
    this.#stopped = true
    for (const stop of this.#stops) stop()
  }
}
