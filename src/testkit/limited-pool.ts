import type { Client } from '#api'
import type { Payer } from '#jobs'
import { type Runtime, systemRuntime } from '#runtime'
import type { Database } from '#storage'
import { ApiDouble } from './api-double.ts'
import { SmallPool } from './small-pool.ts'
import { smallPayer } from './small-workers.ts'

/** A wall clock that stands still at a moment of its minute until it is let go, or set again. */
export class StoppedClock {
  #at = 0
  #since: number | undefined

  readonly runtime: Runtime = { ...systemRuntime, now: () => this.#now() }

  /** Stands still `seconds` after the beginning of a minute none of its users has seen; the first is the next one. */
  stopAt(seconds: number): void {
    const next = Math.floor(Math.max(this.#at, systemRuntime.now()) / 60_000) + 2
    this.#at = next * 60_000 + seconds * 1_000
    this.#since = undefined
  }

  advance(ms: number): void {
    this.#at += ms
  }

  /** Goes on from where it stands. */
  letGo(): void {
    this.#since ??= systemRuntime.monotonic()
  }

  #now(): number {
    return this.#at + (this.#since === undefined ? 0 : Math.floor(systemRuntime.monotonic() - this.#since))
  }
}

/** Processes of one pool: an API each over jobs, budgets and money on one real database. Their keys may change while they run. */
export class LimitedPool implements AsyncDisposable {
  readonly clock: StoppedClock
  readonly keys: Record<string, Client> = {}
  readonly processes: readonly { readonly small: SmallPool; readonly api: ApiDouble }[]

  private constructor(clock: StoppedClock, keys: Record<string, Client>, processes: LimitedPool['processes']) {
    this.clock = clock
    this.keys = keys
    this.processes = processes
  }

  static async open(database: Database, size = 1): Promise<LimitedPool> {
    const clock = new StoppedClock()
    clock.stopAt(0)
    const keys: Record<string, Client> = {}
    const { runtime } = clock
    const processes = []
    for (let n = 0; n < size; n++) {
      const more = n === 0 ? {} : { credits: 0n }
      const small = await SmallPool.open(database, { runtime, alone: size === 1, ...more })
      const api = await ApiDouble.open({
        runtime,
        jobs: small.jobs,
        authenticate: (key) => keys[key] ?? { code: 'invalid_api_key', message: 'No such key.', fix: 'Check it.' },
      })
      processes.push({ small, api })
    }
    return new LimitedPool(clock, keys, processes)
  }

  /** Makes the key, or changes what it may. */
  setKey(key: string, limits: Partial<Payer>): void {
    const may = { role: 'user', models: null, assurance: null, privacy: 'standard' } as const
    this.keys[key] = { ...smallPayer(key, limits), userId: 'ada', ...may }
  }

  /** A chat request with this key, at one of the processes. */
  ask(key: string, more: object = {}, process = 0): Promise<Response> {
    const api = this.processes[process]?.api
    if (!api) throw new Error('there is no such process')
    const body = { model: 'moss', messages: [{ role: 'user', content: 'tell me' }], max_tokens: 2, ...more }
    return api.post('/v1/chat/completions', body, { authorization: `Bearer ${key}` })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { api, small } of this.processes) {
      await api[Symbol.asyncDispose]()
      await small[Symbol.asyncDispose]()
    }
  }
}
