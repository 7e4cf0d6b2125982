import { protocolLimits } from '#protocol'
import type { Runtime } from '#runtime'
import { closeCode } from './close-code.ts'
import type { FrameInbox, SocketEnd } from './frame-inbox.ts'
import { transportLimits } from './limits.ts'
import type { NoiseKeys } from './noise-handshake.ts'
import {
  bytesInRecord,
  needsFragments,
  type OutgoingMessage,
  RecordReader,
  RecordWriter,
  recordContentMax,
} from './records.ts'
import { TokenBucket } from './token-bucket.ts'

/** Who is at the other end: proven by the handshake. */
export interface SessionPeer {
  /** Ed25519, 32 raw bytes. */
  readonly publicKey: Buffer
  /** Lowercase hex sha256 of the public key. */
  readonly id: string
  /** On the pool's side: where the worker comes from. */
  readonly address?: string
}

/**
 * One encrypted session. Messages arrive in order, each once, or the session ends.
 *
 *   open ──▶ closed (by close, by the other side, by a violation)
 */
export interface SecureSession {
  readonly peer: SessionPeer
  /** On the pool's side what `admit` answered; on the worker's side `undefined`. */
  readonly peerPayload: unknown
  readonly closed: boolean
  /**
   * Sends a message of `type` (0 … 255). When nothing was sent in this turn of the event loop it leaves at once; the others of the
   * turn share records. The body must not be changed afterwards. Nothing happens on a closed session. Throws a RangeError above
   * 8 MiB.
   */
  send(type: number, body?: Buffer | readonly Buffer[]): void
  /** Bytes that have not reached the kernel. Above 1 MiB wait for `onDrain`; above 64 MiB the session is closed. */
  bufferedBytes(): number
  /** Messages wait (16 records) until it is set. `body` is a view the session never reuses; keep a copy of what must live long. */
  onMessage: ((type: number, body: Buffer) => void) | undefined
  /** Called once, in a microtask after the end, also when set after it. */
  onClose: ((end: SocketEnd) => void) | undefined
  /** Called when the buffer, once above 1 MiB, is empty again. */
  onDrain: (() => void) | undefined
  /** Sends what waits, then a close frame. `reason` is a refusal's code: a proxy can read it. */
  close(code: number, reason: string): void
}

/** Limits of one session that a door may set. */
export interface SessionLimits {
  readonly messagesPerSecond: number
  readonly messagesBurst: number
  readonly bytesPerSecond: number
  readonly bytesBurst: number
  readonly sendBufferBytesMax: number
}

export interface SessionOptions {
  readonly inbox: FrameInbox
  readonly keys: NoiseKeys
  readonly peer: SessionPeer
  readonly runtime: Runtime
  /** The pool counts what a worker sends; a worker trusts its pool that far. */
  readonly limits?: SessionLimits
  /** `onMessage` or `onDrain` threw. The session was closed with 4500; the error is reported here, or thrown where nobody listens. */
  readonly onFault?: ((error: unknown) => void) | undefined
}

const noBody: readonly Buffer[] = []

/** The session over one WebSocket after the handshake. */
export class NoiseSession implements SecureSession {
  readonly peer: SessionPeer
  peerPayload: unknown
  onDrain: (() => void) | undefined
  readonly #inbox: FrameInbox
  readonly #runtime: Runtime
  readonly #reader: RecordReader
  readonly #writer: RecordWriter
  readonly #onFault: ((error: unknown) => void) | undefined
  readonly #messages: TokenBucket | undefined
  readonly #bytes: TokenBucket | undefined
  readonly #sendBufferMax: number
  #onMessage: ((type: number, body: Buffer) => void) | undefined
  #onClose: ((end: SocketEnd) => void) | undefined
  /** Messages of this turn that did not leave at once. */
  #queue: OutgoingMessage[] = []
  #queuedBytes = 0
  #turnTaken = false
  /** Frames above the high mark that have not reached the kernel. */
  #undrained = 0

  constructor({ inbox, keys, peer, runtime, limits, onFault }: SessionOptions) {
    const now = runtime.monotonic()
    this.peer = peer
    this.#inbox = inbox
    this.#runtime = runtime
    this.#writer = new RecordWriter(keys.send, now)
    this.#reader = new RecordReader(keys.receive, (type, body) => this.#deliver(type, body))
    this.#onFault = onFault
    this.#messages = limits && new TokenBucket(limits.messagesPerSecond, limits.messagesBurst, now)
    this.#bytes = limits && new TokenBucket(limits.bytesPerSecond, limits.bytesBurst, now)
    this.#sendBufferMax = limits?.sendBufferBytesMax ?? transportLimits.sendBufferBytesMax
    inbox.onEnd = (end) => queueMicrotask(() => this.#ended(end))
    inbox.onControl = () => this.#count(1, 0)
  }

  get closed(): boolean {
    return this.#inbox.end !== undefined
  }

  get onMessage(): ((type: number, body: Buffer) => void) | undefined {
    return this.#onMessage
  }

  set onMessage(listener: ((type: number, body: Buffer) => void) | undefined) {
    const first = this.#onMessage === undefined
    this.#onMessage = listener
    if (first && listener) this.#inbox.listen((frame) => this.#receive(frame))
  }

  get onClose(): ((end: SocketEnd) => void) | undefined {
    return this.#onClose
  }

  set onClose(listener: ((end: SocketEnd) => void) | undefined) {
    this.#onClose = listener
    const end = this.#inbox.end
    if (end && listener) queueMicrotask(() => this.#ended(end))
  }

  send(type: number, body: Buffer | readonly Buffer[] = noBody): void {
    if (this.closed) return
    const message = outgoing(type, body)
    if (needsFragments(message)) {
      this.#flush()
      for (const record of this.#writer.writeFragments(message, this.#runtime.monotonic())) this.#write(record)
    } else if (this.#turnTaken) this.#enqueue(message)
    else {
      this.#write(this.#writer.writeWhole([message], this.#runtime.monotonic()))
      this.#turnTaken = true
      setImmediate(() => this.#endTurn())
    }
  }

  bufferedBytes(): number {
    return this.#inbox.socket.bufferedAmount + this.#queuedBytes
  }

  close(code: number, reason: string): void {
    if (this.closed) return
    this.#flush()
    this.#inbox.close(code, reason)
  }

  #enqueue(message: OutgoingMessage): void {
    if (this.#queuedBytes + bytesInRecord(message) > recordContentMax) this.#flush()
    this.#queue.push(message)
    this.#queuedBytes += bytesInRecord(message)
  }

  #endTurn(): void {
    this.#turnTaken = this.#queue.length > 0
    if (!this.#turnTaken || this.closed) return
    this.#flush()
    setImmediate(() => this.#endTurn())
  }

  #flush(): void {
    if (this.#queue.length === 0) return
    const messages = this.#queue
    this.#queue = []
    this.#queuedBytes = 0
    this.#write(this.#writer.writeWhole(messages, this.#runtime.monotonic()))
  }

  #write(record: Buffer): void {
    const { socket } = this.#inbox
    if (this.closed) return
    const buffered = socket.bufferedAmount + record.length
    if (buffered <= transportLimits.sendBufferHighBytes && this.#undrained === 0) socket.send(record)
    else {
      this.#undrained += 1
      socket.send(record, () => this.#drained())
    }
    if (buffered > this.#sendBufferMax) this.#inbox.close(closeCode.rateExceeded, 'rate_exceeded')
    else if (!this.#writer.usable) this.#inbox.close(closeCode.goingAway, 'shutting_down')
  }

  #drained(): void {
    this.#undrained -= 1
    if (this.#undrained > 0 || this.closed) return
    try {
      this.onDrain?.()
    } catch (error) {
      this.#fault(error)
    }
  }

  #receive(frame: Buffer): void {
    const count = this.#reader.read(frame, this.#runtime.monotonic())
    if (count === undefined) this.close(closeCode.protocolViolation, 'protocol_violation')
    else this.#count(count, frame.length)
  }

  #count(messages: number, bytes: number): void {
    if (!this.#messages || !this.#bytes || this.closed) return
    const now = this.#runtime.monotonic()
    const within = this.#messages.take(messages, now) && this.#bytes.take(bytes, now)
    if (!within) this.close(closeCode.rateExceeded, 'rate_exceeded')
  }

  #deliver(type: number, body: Buffer): void {
    if (this.closed) return
    try {
      this.#onMessage?.(type, body)
    } catch (error) {
      this.#fault(error)
    }
  }

  /** A listener of ours that throws must not take the pool's other sessions with it. */
  #fault(error: unknown): void {
    this.close(closeCode.internal, 'internal_error')
    if (!this.#onFault) throw error
    this.#onFault(error)
  }

  #ended(end: SocketEnd): void {
    const listener = this.#onClose
    this.#onClose = undefined
    this.#queue = []
    this.#queuedBytes = 0
    listener?.(end)
  }
}

function outgoing(type: number, body: Buffer | readonly Buffer[]): OutgoingMessage {
  const parts = Buffer.isBuffer(body) ? [body] : body
  let length = 1
  for (const part of parts) length += part.length
  if (length > protocolLimits.messageBytesMax) throw new RangeError(`a message of ${length} bytes is above 8 MiB`)
  return { type, body: parts, length }
}
