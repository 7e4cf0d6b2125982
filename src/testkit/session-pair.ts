import type { SecureSession } from '#transport'
import { testPool, testWorker } from './with-papers.ts'

type Body = Buffer | readonly Buffer[]
type SessionEnd = { readonly code: number; readonly reason: string }

/** One end of a session in memory: order kept, bodies copied, delivery in a later microtask. */
class MemorySession implements SecureSession {
  readonly peer: SecureSession['peer']
  readonly peerPayload: unknown = undefined
  onDrain: (() => void) | undefined
  other: MemorySession | undefined
  /** What the other side closed with, for tests that ask. */
  closedWith: SessionEnd | undefined
  /** Every message this end sent, oldest first. */
  readonly sent: { type: number; body: Buffer }[] = []
  silent = false
  #onMessage: ((type: number, body: Buffer) => void) | undefined
  #onClose: ((end: SessionEnd) => void) | undefined
  #early: { type: number; body: Buffer }[] = []
  #undelivered = 0

  constructor(peer: SecureSession['peer']) {
    this.peer = peer
  }

  get closed(): boolean {
    return this.closedWith !== undefined
  }

  get onMessage(): ((type: number, body: Buffer) => void) | undefined {
    return this.#onMessage
  }

  set onMessage(listener: ((type: number, body: Buffer) => void) | undefined) {
    this.#onMessage = listener
    const early = this.#early
    this.#early = []
    for (const { type, body } of early) listener?.(type, body)
  }

  get onClose(): ((end: SessionEnd) => void) | undefined {
    return this.#onClose
  }

  set onClose(listener: ((end: SessionEnd) => void) | undefined) {
    this.#onClose = listener
    const end = this.closedWith
    if (end && listener) queueMicrotask(() => this.#tell(end))
  }

  bufferedBytes(): number {
    return this.#undelivered
  }

  send(type: number, body: Body = Buffer.alloc(0)): void {
    if (this.closed) return
    const copy = Array.isArray(body) ? Buffer.concat(body as Buffer[]) : Buffer.from(body as Buffer)
    this.sent.push({ type, body: copy })
    this.#undelivered += copy.length
    queueMicrotask(() => {
      if (this.silent || this.other?.silent) return
      this.#undelivered -= copy.length
      this.other?.receive(type, copy)
    })
  }

  receive(type: number, body: Buffer): void {
    if (this.closed) return
    if (this.#onMessage) this.#onMessage(type, body)
    else this.#early.push({ type, body })
  }

  /** The other end hears of it after everything that was sent before. */
  close(code: number, reason: string): void {
    if (this.closed) return
    this.hangUp(code, reason)
    queueMicrotask(() => {
      if (!this.silent && !this.other?.silent) this.other?.hangUp(code, reason)
    })
  }

  hangUp(code: number, reason: string): void {
    if (this.closed) return
    this.closedWith = { code, reason }
    this.#tell(this.closedWith)
  }

  /** Once. */
  #tell(end: SessionEnd): void {
    const listener = this.#onClose
    this.#onClose = undefined
    listener?.(end)
  }
}

export interface SessionPair {
  /** The pool's end; its peer is the worker. */
  readonly pool: MemorySession
  /** The worker's end; its peer is the pool. */
  readonly worker: MemorySession
  /** The cable is cut in a way nobody notices: nothing arrives any more, no close either. */
  silence(): void
  /** Both sides see the connection end. */
  cut(): void
}

/** Two joined ends of a session, of the test's worker and pool unless another is named: by its id (64 hex digits) or with its key. */
export function sessionPair(worker: string | SecureSession['peer'] = testWorker): SessionPair {
  const { id, publicKey } = typeof worker === 'string' ? { id: worker, publicKey: Buffer.from(worker, 'hex') } : worker
  const pool = new MemorySession({ id, publicKey: id === testWorker.id ? testWorker.publicKey : publicKey })
  const other = new MemorySession(testPool)
  pool.other = other
  other.other = pool
  return {
    pool,
    worker: other,
    silence() {
      pool.silent = true
    },
    cut() {
      pool.hangUp(1006, 'connection lost')
      other.hangUp(1006, 'connection lost')
    },
  }
}
