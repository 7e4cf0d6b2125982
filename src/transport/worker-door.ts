import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import type { DhKey, Identity } from '#crypto'
import { PoolError, protocolLimits, type Refusal, type RefusalCode, type WorkerId } from '#protocol'
import type { Runtime } from '#runtime'
import { type Admission, acceptSession, type Peer } from './accept-session.ts'
import { clientAddress, parseTrustedProxies, sourceGroup, type TrustedProxies } from './client-address.ts'
import { closeCode } from './close-code.ts'
import { sessionPath, subprotocol } from './handshake-frames.ts'
import { hangUp } from './hang-up.ts'
import { transportLimits } from './limits.ts'
import { ReturnTimes } from './return-times.ts'
import type { SecureSession, SessionLimits } from './secure-session.ts'

/** A socket that did not become a session, for the log and a counter. */
export interface DoorRefusal {
  readonly code: RefusalCode
  /** The client's address. */
  readonly source: string
}

export interface DoorLimits extends SessionLimits {
  readonly unauthenticatedPerSourceMax: number
  readonly unauthenticatedMax: number
}

type Admitted<A> = Extract<A, { ok: true }>

export interface WorkerDoorOptions<A extends Admission> {
  readonly pool: Identity
  readonly staticKey: DhKey
  readonly runtime: Runtime
  admit(peer: Peer): Promise<A>
  isKnownKey?(id: WorkerId): boolean | Promise<boolean>
  /** Called in the same turn in which the worker was admitted. Set `onMessage` and `onClose` here. */
  onSession(session: SecureSession, admission: Admitted<A>): void
  /** Addresses or ranges whose `X-Forwarded-For` is believed. */
  readonly trustedProxies?: readonly string[]
  readonly limits?: Partial<DoorLimits>
  onRefused?(refusal: DoorRefusal): void
  onFault?: (error: unknown) => void
}

/** The door workers knock at: upgrades, limits on strangers, the handshake, going away. */
export class WorkerDoor<A extends Admission> {
  readonly #options: WorkerDoorOptions<A>
  readonly #limits: DoorLimits
  readonly #trusted: TrustedProxies
  readonly #server: WebSocketServer
  readonly #leaving = new AbortController()
  readonly #strangers = new Map<string, number>()
  readonly #returnTimes: ReturnTimes
  #strangersTotal = 0

  constructor(options: WorkerDoorOptions<A>) {
    this.#options = options
    this.#limits = { ...transportLimits, ...options.limits }
    this.#trusted = parseTrustedProxies(options.trustedProxies ?? [])
    this.#returnTimes = new ReturnTimes(options.runtime.monotonic())
    // closeTimeout and maxFragments are options of ws that its type definitions do not list yet
    const settings = {
      noServer: true,
      perMessageDeflate: false,
      maxPayload: protocolLimits.frameBytesMax,
      closeTimeout: transportLimits.closeMsMax,
      maxFragments: transportLimits.framePiecesMax,
      handleProtocols: () => subprotocol,
    }
    this.#server = new WebSocketServer(settings)
    this.#server.on('wsClientError', (error, socket, request) => {
      this.#refuse(socket, this.#sourceOf(request), { ...noWebSocket, message: `${error.message}.` })
    })
  }

  /** Sockets whose worker is not known yet. */
  get strangers(): number {
    return this.#strangersTotal
  }

  /** Answers every upgrade of an HTTP server; other paths than the workers' get 404. */
  attach(server: {
    on(event: 'upgrade', listener: (request: IncomingMessage, socket: Duplex, head: Buffer) => void): unknown
  }): void {
    server.on('upgrade', (request, socket, head) => this.#knock(request, socket, head))
  }

  /** Lets nobody in any more, ends handshakes under way and closes every session with 1001. */
  close(): void {
    this.#leaving.abort(PoolError.from(goingAway))
    for (const socket of this.#server.clients) socket.close(closeCode.goingAway, 'shutting_down')
  }

  #knock(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    const source = this.#sourceOf(request)
    const group = sourceGroup(source)
    const refusal = this.#whyNot(request, group)
    if (refusal) {
      this.#refuse(socket, source, refusal)
      return
    }
    this.#countStranger(group, 1)
    let counted = true
    const known = () => {
      if (counted) this.#countStranger(group, -1)
      counted = false
    }
    socket.once('close', known)
    this.#server.handleUpgrade(request, socket, head, (webSocket) => void this.#welcome(webSocket, source, known))
  }

  #sourceOf(request: IncomingMessage): string {
    const forwarded = request.headers['x-forwarded-for']
    const header = Array.isArray(forwarded) ? forwarded.join(',') : forwarded
    return clientAddress(request.socket.remoteAddress, header, this.#trusted)
  }

  #refuse(socket: Duplex, source: string, refusal: Refusal): void {
    this.#options.onRefused?.({ code: refusal.code, source })
    hangUp(socket, refusal)
  }

  #whyNot(request: IncomingMessage, group: string): Refusal | undefined {
    const { unauthenticatedMax, unauthenticatedPerSourceMax } = this.#limits
    if ((request.url ?? '').split('?')[0] !== sessionPath) return noSuchPath
    if (this.#leaving.signal.aborted) return goingAway
    if (request.headers.origin !== undefined) return fromBrowser
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (!offered?.includes(subprotocol)) return otherProtocol
    if (this.#strangersTotal < unauthenticatedMax && (this.#strangers.get(group) ?? 0) < unauthenticatedPerSourceMax)
      return
    return { ...crowded, retryAfterMs: this.#returnTimes.next(this.#options.runtime.monotonic()) }
  }

  #countStranger(group: string, change: 1 | -1): void {
    const now = (this.#strangers.get(group) ?? 0) + change
    if (now > 0) this.#strangers.set(group, now)
    else this.#strangers.delete(group)
    this.#strangersTotal += change
  }

  async #welcome(socket: WebSocket, source: string, known: () => void): Promise<void> {
    const { admit, isKnownKey, onFault, onRefused, onSession, pool, runtime, staticKey } = this.#options
    let admitted: Admitted<A> | undefined
    const session = await acceptSession({
      socket,
      address: source,
      pool,
      staticKey,
      runtime,
      limits: this.#limits,
      signal: this.#leaving.signal,
      admit: async (peer) => {
        const admission = await admit(peer)
        if (admission.ok) admitted = admission as Admitted<A> // `ok` tells which; the compiler does not narrow a type parameter
        return admission
      },
      ...(isKnownKey ? { isKnownKey } : {}),
      onRefused: (code) => onRefused?.({ code, source }),
      onFault,
    })
    known()
    if (!session || !admitted) return
    this.#returnTimes.letIn(runtime.monotonic())
    try {
      onSession(session, admitted)
    } catch (error) {
      session.close(closeCode.internal, 'internal_error')
      onFault?.(error)
    }
  }
}

const noSuchPath: Refusal = {
  code: 'route_not_found',
  message: 'Nothing can be upgraded here.',
  fix: `Workers connect to ${sessionPath}.`,
}

const goingAway: Refusal = {
  code: 'shutting_down',
  message: 'The pool is going away.',
  fix: 'Connect again in a moment.',
  retryAfterMs: transportLimits.retryAfterMs,
}

/** Browsers name the page that asks (RFC 6455 §10.2), workers never do: no page reaches a pool through its reader. */
const fromBrowser: Refusal = {
  code: 'origin_not_allowed',
  message: 'Web pages may not open worker sessions.',
  fix: 'Run `lichen worker join`, or leave the Origin header out.',
}

const noWebSocket = {
  code: 'invalid_request',
  fix: 'Open the session with a WebSocket library (RFC 6455).',
} as const

const otherProtocol: Refusal = {
  code: 'unsupported_protocol',
  message: `This pool speaks ${subprotocol}.`,
  fix: 'Install the same version of lichen.',
}

const crowded: Refusal = {
  code: 'too_many_sockets',
  message: 'Too many connections have not said who they are.',
  fix: 'Try again later.',
}
