import type { Runtime } from '#runtime'

interface Bucket {
  /** Requests that may still come at once. */
  left: number
  /** When `left` was computed, monotonic milliseconds. */
  at: number
}

/** What a key may still do; `retryAfterMs` is 0 when this request was let in. */
export interface RateVerdict {
  readonly limit: number
  readonly remaining: number
  /** Until the bucket is full again. */
  readonly resetMs: number
  readonly retryAfterMs: number
}

/**
 * Requests per minute of each key, as a token bucket: a minute's worth at once, then one every `60 s / limit`.
 * In memory of this process; a restart fills the buckets.
 */
export class RequestRate {
  readonly #runtime: Runtime
  readonly #bucketsMax: number
  readonly #buckets = new Map<string, Bucket>()

  constructor(runtime: Runtime, bucketsMax: number) {
    this.#runtime = runtime
    this.#bucketsMax = bucketsMax
  }

  get size(): number {
    return this.#buckets.size
  }

  /** Takes one request from the key's bucket, if it holds one. `perMinute` ≥ 1. */
  take(key: string, perMinute: number): RateVerdict {
    const now = this.#runtime.monotonic()
    const bucket = this.#refilled(key, perMinute, now)
    const msPerRequest = 60_000 / perMinute
    const allowed = bucket.left >= 1
    if (allowed) bucket.left -= 1
    return {
      limit: perMinute,
      remaining: Math.floor(bucket.left),
      resetMs: Math.ceil((perMinute - bucket.left) * msPerRequest),
      retryAfterMs: allowed ? 0 : Math.max(1, Math.ceil((1 - bucket.left) * msPerRequest)),
    }
  }

  #refilled(key: string, perMinute: number, now: number): Bucket {
    const known = this.#buckets.get(key)
    if (known) {
      known.left = Math.min(perMinute, known.left + ((now - known.at) * perMinute) / 60_000)
      known.at = now
      return known
    }
    if (this.#buckets.size >= this.#bucketsMax) this.#forgetSome(now)
    const fresh = { left: perMinute, at: now }
    this.#buckets.set(key, fresh)
    return fresh
  }

  /** Buckets untouched for a minute are full; should there be none, the oldest goes. */
  #forgetSome(now: number): void {
    const before = this.#buckets.size
    for (const [key, bucket] of this.#buckets) if (now - bucket.at >= 60_000) this.#buckets.delete(key)
    if (this.#buckets.size < before) return
    const oldest = this.#buckets.keys().next()
    if (!oldest.done) this.#buckets.delete(oldest.value)
  }
}

/** `x-ratelimit-*` as OpenAI writes them. */
export function rateHeaders({ limit, remaining, resetMs }: RateVerdict): string[] {
  const reset = resetMs < 1_000 ? `${resetMs}ms` : `${(resetMs / 1_000).toFixed(resetMs % 1_000 ? 3 : 0)}s`
  return [
    'x-ratelimit-limit-requests',
    String(limit),
    'x-ratelimit-remaining-requests',
    String(remaining),
    'x-ratelimit-reset-requests',
    reset,
  ]
}
