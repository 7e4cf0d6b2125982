/** A timer that was set; `cancel` is idempotent. */
export interface Timer {
  cancel(): void
}

/** What a room may know about the world outside its arguments. */
export interface Runtime {
  /** Wall clock, milliseconds since the Unix epoch. May jump; never use it to measure a wait. */
  now(): number
  /** Milliseconds that only grow, for waits and rates. */
  monotonic(): number
  /** `n` cryptographically random bytes. */
  randomBytes(n: number): Buffer
  /** UUIDv7 (RFC 9562 §5.7): sortable by creation time, 74 random bits. */
  uuid(): string
  /** Calls `run` once after `ms`. The timer does not keep a process alive unless `keepAlive`. */
  after(ms: number, run: () => void, options?: { keepAlive?: boolean }): Timer
  /** Calls `run` every `ms` until cancelled. Does not keep a process alive. */
  every(ms: number, run: () => void): Timer
  /** Resolves after `ms`; rejects with the signal's reason when aborted. Keeps the process alive. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}
