import type { WebSocket } from 'ws'
import { PoolError } from '#protocol'
import { closeCode } from './close-code.ts'
import { transportLimits } from './limits.ts'

/** How a socket ended: the code and reason that were sent, received, or stand for what broke. */
export interface SocketEnd {
  readonly code: number
  readonly reason: string
}

/**
 * The binary frames of one socket, in order: first one by one for the handshake, then all to one listener. Frames that nobody has
 * asked for yet wait, a few; more end the socket.
 */
export class FrameInbox {
  readonly socket: WebSocket
  #waiting: Buffer[] = []
  #ask: { resolve(frame: Buffer): void; reject(reason: Error): void } | undefined
  #listener: ((frame: Buffer) => void) | undefined
  #end: SocketEnd | undefined
  #controls = 0
  /** Told once, when the socket ended from either side. */
  onEnd: ((end: SocketEnd) => void) | undefined
  /** Told of every WebSocket ping and pong; until someone listens, a few are allowed. */
  onControl: (() => void) | undefined

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (this.#end) return
      if (isBinary) this.#take(data)
      else this.close(closeCode.protocolViolation, 'protocol_violation')
    })
    socket.on('ping', () => this.#control())
    socket.on('pong', () => this.#control())
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code?.startsWith('WS_ERR_'))
        this.#finish({ code: closeCode.protocolViolation, reason: 'protocol_violation' })
    })
    socket.on('close', (code, reason) => this.#finish({ code, reason: reason.toString() }))
  }

  get end(): SocketEnd | undefined {
    return this.#end
  }

  /** The next frame; rejects when the signal aborts or the socket ends first. One caller at a time. */
  next(signal: AbortSignal): Promise<Buffer> {
    if (signal.aborted) return Promise.reject(signal.reason)
    const frame = this.#waiting.shift()
    if (frame) return Promise.resolve(frame)
    if (this.#end) return Promise.reject(endedEarly(this.#end))
    return new Promise((resolve, reject) => {
      const stop = () => this.#ask?.reject(signal.reason)
      const settled = () => {
        this.#ask = undefined
        signal.removeEventListener('abort', stop)
      }
      this.#ask = {
        resolve: (value) => {
          settled()
          resolve(value)
        },
        reject: (reason) => {
          settled()
          reject(reason)
        },
      }
      signal.addEventListener('abort', stop, { once: true })
    })
  }

  /** Hands every frame, those that waited included, to `listener` from now on. */
  listen(listener: (frame: Buffer) => void): void {
    this.#listener = listener
    const early = this.#waiting
    this.#waiting = []
    for (const frame of early) if (!this.#end) listener(frame)
  }

  /** Sends a close frame and ends; the socket itself lingers for the other side's answer. */
  close(code: number, reason: string): void {
    if (this.#end) return
    this.socket.close(code, reason)
    this.#finish({ code, reason })
  }

  #take(frame: Buffer): void {
    if (this.#listener) this.#listener(frame)
    else if (this.#ask) this.#ask.resolve(frame)
    else if (this.#waiting.length < transportLimits.earlyRecordsMax) this.#waiting.push(frame)
    else this.close(closeCode.protocolViolation, 'protocol_violation')
  }

  #control(): void {
    this.#controls += 1
    if (this.onControl) this.onControl()
    else if (this.#controls > transportLimits.earlyRecordsMax)
      this.close(closeCode.protocolViolation, 'protocol_violation')
  }

  #finish(end: SocketEnd): void {
    if (this.#end) return
    this.#end = end
    this.#waiting = []
    this.#ask?.reject(endedEarly(end))
    this.onEnd?.(end)
  }
}

/** What a socket that closed during the handshake means. The close code is not authenticated: it explains, it decides nothing. */
function endedEarly({ code }: SocketEnd): PoolError {
  if (code === closeCode.authDeadline) return authDeadline()
  if (code === closeCode.goingAway) {
    return new PoolError('shutting_down', 'The other side is going away.', 'Connect again in a moment.')
  }
  return new PoolError(
    'handshake_failed',
    `The other side closed the connection during the handshake (code ${code}).`,
    'Check that the address belongs to the pool of the invite and that nothing between alters the connection.',
  )
}

export function authDeadline(): PoolError {
  const seconds = transportLimits.authMsMax / 1_000
  return new PoolError(
    'auth_deadline',
    `The handshake did not end within ${seconds} s.`,
    'Check the network between worker and pool and connect again.',
  )
}
