import type { Runtime, Timer } from '#runtime'
import type { Sql } from '#storage'
import type { JobEvents } from './events.ts'
import { jobsLimits } from './limits.ts'

/**
 * This pool process among those that share the database. Each renews its row; the jobs of one that stopped are marked
 * `interrupted` by any other, or by the next one that starts.
 */
export class PoolInstance {
  readonly id: string
  readonly #sql: Sql
  readonly #runtime: Runtime
  readonly #events: JobEvents
  #timer: Timer | undefined
  #beating: Promise<void> | undefined
  /** Monotonic; since when every beat came through. Undefined while they do not. */
  #steadySince: number | undefined
  #forgottenAt = Number.NEGATIVE_INFINITY

  constructor(sql: Sql, runtime: Runtime, events: JobEvents) {
    this.id = runtime.uuid()
    this.#sql = sql
    this.#runtime = runtime
    this.#events = events
  }

  /** `alone`: the caller knows that no other pool process uses this database (it holds the lock on the data directory). */
  async start(alone: boolean): Promise<void> {
    await this.#renew()
    if (alone) await this.#sql`delete from pool_instances where id <> ${this.id}`
    await this.#interruptOrphans()
    this.#timer = this.#runtime.every(jobsLimits.instanceBeatMs, () => {
      this.#beating ??= this.#beat().finally(() => {
        this.#beating = undefined
      })
    })
  }

  async stop(): Promise<void> {
    this.#timer?.cancel()
    await this.#beating
    try {
      await this.#sql`delete from pool_instances where id = ${this.id}`
    } catch {
      // The row runs out by itself.
    }
  }

  async #beat(): Promise<void> {
    const now = this.#runtime.monotonic()
    try {
      await this.#renew()
      this.#steadySince ??= now
      // After an outage of the database every row looks old: the others get time to renew theirs before they are judged.
      if (now - this.#steadySince >= jobsLimits.instanceLeaseMs) await this.#interruptOrphans()
      await this.#forgetOldKeys(now)
    } catch {
      this.#steadySince = undefined
    }
  }

  async #renew(): Promise<void> {
    await this.#sql`
      insert into pool_instances (id) values (${this.id}) on conflict (id) do update set seen_at = now()`
  }

  /** Jobs whose process is gone end here, and so do the segments they had. */
  async #interruptOrphans(): Promise<void> {
    const [row] = await this.#sql<{ jobs: number }[]>`
      with gone as (
        delete from pool_instances
         where seen_at < now() - 10 * ${jobsLimits.instanceLeaseMs} * interval '1 millisecond'
      ), ended as (
        update jobs set state = 'interrupted', ended_at = now(), code = 'shutting_down'
         where ended_at is null
           and instance not in (
             select id from pool_instances
              where seen_at >= now() - ${jobsLimits.instanceLeaseMs} * interval '1 millisecond')
        returning id
      ), cut as (
        update segments s set outcome = 'lost', ended_at = now()
          from ended where s.job_id = ended.id and s.outcome = 'running'
      )
      select count(*)::int as jobs from ended`
    if (row && row.jobs > 0) this.#events.jobsInterrupted?.({ jobs: row.jobs })
  }

  async #forgetOldKeys(now: number): Promise<void> {
    if (now - this.#forgottenAt < jobsLimits.idempotencySweepMs) return
    this.#forgottenAt = now
    await this.#sql`
      delete from idempotency where created_at < ${this.#runtime.now() - jobsLimits.idempotencyMs}::timestamptz`
    await this
      .#sql`delete from known_models where seen_at < ${this.#runtime.now() - jobsLimits.knownModelMs}::timestamptz`
  }
}
