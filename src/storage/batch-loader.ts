import { PoolError } from '#protocol'
import { databaseError } from './errors.ts'
import { storageLimits } from './limits.ts'

interface Waiter<V> {
  readonly resolve: (value: V | undefined) => void
  readonly reject: (error: unknown) => void
}

/**
 * Look-ups by key, asked for while one is on its way, become the next one: ten thousand workers that come back at once
 * cost ten statements.
 */
export class BatchLoader<V> {
  readonly #load: (keys: readonly string[]) => Promise<ReadonlyMap<string, V>>
  #waiting = new Map<string, Waiter<V>[]>()
  #loading = false

  /** `load` answers many keys at once; what it leaves out does not exist. */
  constructor(load: (keys: readonly string[]) => Promise<ReadonlyMap<string, V>>) {
    this.#load = load
  }

  /**
   * Reads after it was asked, never before.
   * @throws PoolError overloaded, database_unavailable.
   */
  get(key: string): Promise<V | undefined> {
    const waiters = this.#waiting.get(key)
    if (!waiters && this.#waiting.size >= storageLimits.lookupsWaitingMax) {
      return Promise.reject(
        new PoolError('overloaded', 'Too many look-ups wait for the database.', 'Try again in a moment.', {
          retryAfterMs: 1_000,
        }),
      )
    }
    return new Promise((resolve, reject) => {
      if (waiters) waiters.push({ resolve, reject })
      else this.#waiting.set(key, [{ resolve, reject }])
      if (!this.#loading) void this.#run()
    })
  }

  async #run(): Promise<void> {
    this.#loading = true
    await Promise.resolve()
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting].slice(0, storageLimits.lookupBatchMax)
      for (const [key] of batch) this.#waiting.delete(key)
      await this.#answer(batch)
    }
    this.#loading = false
  }

  async #answer(batch: readonly (readonly [string, Waiter<V>[]])[]): Promise<void> {
    try {
      const found = await this.#load(batch.map(([key]) => key))
      for (const [key, waiters] of batch) for (const waiter of waiters) waiter.resolve(found.get(key))
    } catch (error) {
      for (const [, waiters] of batch) for (const waiter of waiters) waiter.reject(databaseError(error))
    }
  }
}
