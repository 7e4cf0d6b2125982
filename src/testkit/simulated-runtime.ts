import type { Runtime, Timer } from '#runtime'

/** A runtime whose clock stands still until it is told to move, and whose dice repeat for the same seed. */
export interface SimulatedRuntime extends Runtime {
  /** Moves the clock and runs what falls due, in order; whoever awaits something goes on afterwards. */
  advance(ms: number): void
  /** The same in real turns of the event loop: promises and messages between the timers get their turn. */
  pass(ms: number): Promise<void>
  /** Moves the wall clock alone, as an operator or NTP would. */
  jumpWallClock(ms: number): void
  /** Timers still set. */
  readonly timers: number
}

interface Entry {
  at: number
  order: number
  everyMs: number | undefined
  run: () => void
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** xorshift32 (Marsaglia 2003): enough for dice that must only be repeatable. */
function dice(seed: number): () => number {
  let state = seed | 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

export function simulatedRuntime(seed = 1, startsAt = Date.UTC(2026, 0, 1)): SimulatedRuntime {
  const throwDie = dice(seed)
  const entries = new Set<Entry>()
  let elapsed = 0
  let wallOffset = startsAt
  let order = 0

  const set = (ms: number, run: () => void, everyMs?: number): Timer => {
    const entry = { at: elapsed + Math.max(0, ms), order: order++, everyMs, run }
    entries.add(entry)
    return { cancel: () => void entries.delete(entry) }
  }
  const nextDue = (until: number): Entry | undefined => {
    let first: Entry | undefined
    for (const entry of entries) {
      if (entry.at > until) continue
      if (!first || entry.at < first.at || (entry.at === first.at && entry.order < first.order)) first = entry
    }
    return first
  }
  const fire = (entry: Entry) => {
    elapsed = Math.max(elapsed, entry.at)
    if (entry.everyMs === undefined) entries.delete(entry)
    else {
      entry.at += Math.max(1, entry.everyMs)
      entry.order = order++
    }
    entry.run()
  }
  const randomBytes = (n: number) => {
    const bytes = Buffer.alloc(n)
    for (let i = 0; i < n; i++) bytes[i] = throwDie() & 0xff
    return bytes
  }

  return {
    now: () => Math.floor(wallOffset + elapsed),
    monotonic: () => elapsed,
    randomBytes,
    uuid() {
      const hex = randomBytes(16).toString('hex')
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`
    },
    after: (ms, run) => set(ms, run),
    every: (ms, run) => set(ms, run, ms),
    sleep(ms, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const timer = set(ms, () => {
          signal?.removeEventListener('abort', stop)
          resolve()
        })
        const stop = () => {
          timer.cancel()
          reject(signal?.reason)
        }
        signal?.addEventListener('abort', stop, { once: true })
      })
    },
    advance(ms) {
      const until = elapsed + ms
      for (let entry = nextDue(until); entry; entry = nextDue(until)) fire(entry)
      elapsed = until
    },
    async pass(ms) {
      const until = elapsed + ms
      for (let i = 0; i < 3; i++) await turn()
      for (let entry = nextDue(until); entry; entry = nextDue(until)) {
        fire(entry)
        await turn()
        await turn()
      }
      elapsed = until
      for (let i = 0; i < 3; i++) await turn()
    },
    jumpWallClock(ms) {
      wallOffset += ms
    },
    get timers() {
      return entries.size
    },
  }
}
