import {
  acceptModelsFeature,
  type Hello,
  type ModelOffer,
  type ModelOffered,
  messageType,
  protocolLimits,
  type Refusal,
  type RefusalCode,
  type Room,
  refusalCodes,
  type SignatureChecker,
  verifyFeature,
  type WorkerId,
} from '#protocol'
import { type Runtime, SlotMap } from '#runtime'
import type { SecureSession } from '#transport'
import type { CheckAsk, CheckRun } from './check.ts'
import { type CalibrationAsk, Checks } from './checks.ts'
import { closeCodeOf } from './close-code.ts'
import { decodeWorkerMessage } from './decode-worker-message.ts'
import {
  encodeDispatch,
  encodeKernel,
  encodeOfferModel,
  encodeRefused,
  encodeWelcome,
  encodeWithdrawModel,
} from './encode-message.ts'
import { workersLimits } from './limits.ts'
import type { WorkerMessage } from './messages.ts'
import { busy, expired, lostVerifier, noHello, noVerifier, silent, tooLong, violation } from './refusals.ts'
import { Run, type RunHandle, type RunLink, type RunOrder, type RunSink } from './run.ts'
import { TokenMeter } from './token-meter.ts'

/** What identity says of a worker's key. */
export interface Admission {
  readonly standing: 'pending' | 'approved'
  /** Its key is refused afterwards; null = never. */
  readonly expiresAt: Date | null
  readonly operator: string
}

/** A model file that a worker was offered and has not said its last word about. */
export interface OfferedFetch {
  readonly offer: string
  readonly name: string
  readonly digest: string
  /** Bytes it has, and bytes of the file. */
  readonly bytes: number
  readonly bytesOf: number
}

/** A worker whose session is open, always up to date. */
export interface ConnectedWorker extends Admission {
  readonly id: WorkerId
  /** Where its session comes from; empty when unknown. */
  readonly address: string
  /** Name and version of its program, as it says. */
  readonly agent: string
  readonly features: readonly string[]
  readonly offers: readonly ModelOffer[]
  /** Requests it computes at once, and those it has (cancelled ones it has not let go of included). */
  readonly slots: number
  readonly active: number
  /** Checks and calibrations it has, which take no slot. */
  readonly checking: number
  /** Measured by the pool; 0 until it has computed something. */
  readonly tokensPerSecond: number
  /** Milliseconds since 1970. */
  readonly since: number
  /** Finishes what it has, gets nothing new. */
  readonly draining: boolean
  /** What it has room for, when its owner lets the pool choose models for it and it has said so. */
  readonly room: Room | undefined
  /** The model file it fetches. */
  readonly fetching: OfferedFetch | undefined
}

/** What a session tells the room. */
export interface SessionHost {
  greeted(session: WorkerSession): void
  changed(session: WorkerSession): void
  ended(session: WorkerSession, reason: string): void
  /** The last word on a model it was offered: held, or why not. */
  fetched(session: WorkerSession, fetch: OfferedFetch, whyNot: RefusalCode | undefined): void
  violated(session: WorkerSession, message: string): void
  readonly checker: SignatureChecker
}

/**
 * One worker's session, from its `hello` to its end.
 *
 *   greeting ──hello──▶ pending ──approved──▶ serving        any ──closed · silent · refused──▶ ended
 */
export class WorkerSession implements ConnectedWorker {
  readonly id: WorkerId
  readonly since: number
  readonly address: string
  readonly #runtime: Runtime
  readonly #session: SecureSession
  readonly #host: SessionHost
  readonly #link: RunLink
  readonly #checks: Checks
  #runs = new SlotMap<number, Run>()
  readonly #meter = new TokenMeter()
  readonly #openedAt: number
  #waiting: Run[] = []
  #admission: Admission
  #hello: Hello | undefined
  #ended = false
  #drainAsked = false
  #drainOrdered = false
  #heardAt: number
  #pingAt: number
  #lastStream = 0
  #room: Room | undefined
  #fetching: OfferedFetch | undefined
  #onAnswer: (() => void) | undefined

  constructor(session: SecureSession, admission: Admission, runtime: Runtime, host: SessionHost) {
    this.id = session.peer.id as WorkerId
    this.since = runtime.now()
    this.address = session.peer.address ?? ''
    this.#runtime = runtime
    this.#session = session
    this.#admission = admission
    this.#host = host
    this.#openedAt = this.#heardAt = runtime.monotonic()
    // The first ping comes at a random moment: workers that came together must not be pinged together for ever.
    this.#pingAt = this.#openedAt + ((runtime.randomBytes(1)[0] ?? 0) / 256) * workersLimits.heartbeatMs
    this.#link = {
      now: () => runtime.monotonic(),
      send: (type, body) => session.send(type, body),
      released: (run) => this.#released(run),
      relayed: (tokens) => this.#meter.count(tokens),
      overstepped: (message) => host.violated(this, message),
    }
    const verifier = {
      worker: Buffer.from(this.id, 'hex'),
      publicKey: session.peer.publicKey,
      checker: host.checker,
    }
    this.#checks = new Checks(verifier, runtime, {
      now: () => runtime.monotonic(),
      send: (type, body) => session.send(type, body),
      overstepped: (message) => host.violated(this, message),
    })
  }

  /** Begins to listen; what the worker said meanwhile is read now. */
  open(): void {
    this.#session.onClose = ({ reason }) => this.#end(`its connection closed${reason ? `: ${reason}` : ''}`)
    this.#session.onMessage = (type, body) => this.#receive(type, body)
  }

  get standing(): 'pending' | 'approved' {
    return this.#admission.standing
  }
  get expiresAt(): Date | null {
    return this.#admission.expiresAt
  }
  get operator(): string {
    return this.#admission.operator
  }
  get agent(): string {
    return this.#hello?.agent ?? ''
  }
  get features(): readonly string[] {
    return this.#hello?.features ?? []
  }
  get offers(): readonly ModelOffer[] {
    return this.#hello?.models ?? []
  }
  get slots(): number {
    return this.#hello?.slots ?? 0
  }
  get active(): number {
    return this.#runs.size
  }
  get checking(): number {
    return this.#checks.size
  }
  get tokensPerSecond(): number {
    return this.#meter.tokensPerSecond
  }
  get room(): Room | undefined {
    return this.features.includes(acceptModelsFeature) ? this.#room : undefined
  }
  get fetching(): OfferedFetch | undefined {
    return this.#fetching
  }
  get draining(): boolean {
    return this.#drainAsked || this.#drainOrdered
  }
  /** It said hello. */
  get greeted(): boolean {
    return this.#hello !== undefined
  }
  /** It may be given work. */
  get serving(): boolean {
    return this.greeted && this.standing === 'approved' && !this.#ended
  }

  #receive(type: number, body: Buffer): void {
    if (this.#ended) return
    this.#heardAt = this.#runtime.monotonic()
    const decoded = decodeWorkerMessage(type, body)
    const wrong = decoded.ok ? this.#handle(decoded.message, body.length) : decoded.refusal.message
    if (wrong !== undefined) this.#violate(wrong)
  }

  #handle(message: WorkerMessage, bytes: number): string | undefined {
    if (!this.#hello && message.say !== 'hello') return 'The first message was not hello.'
    switch (message.say) {
      case 'hello':
        if (this.#hello) return 'A second hello was sent; a changed offer is an offer message.'
        this.#hello = message.hello
        this.#welcome()
        this.#host.greeted(this)
        return undefined
      case 'offer':
        this.#hello = message.hello
        this.#host.changed(this)
        return undefined
      case 'heartbeat':
        this.#answered()
        return undefined
      case 'drain':
        this.#drainAsked = true
        this.#host.changed(this)
        return undefined
      case 'room':
        if (!this.features.includes(acceptModelsFeature)) return 'A worker that takes no models told its room.'
        this.#room = message.room
        return undefined
      case 'fetching':
        if (message.offer === this.#fetching?.offer) this.#fetching = { ...this.#fetching, bytes: message.bytes }
        return undefined
      case 'fetched':
        this.#fetched(message)
        return undefined
      case 'committed':
      case 'evidence':
      case 'class':
      case 'checkFailed':
        return this.#checks.receive(message)
      default: {
        const run = this.#runs.get(message.stream)
        return run ? run.receive(message, bytes) : `A message for stream ${message.stream}, which is not open.`
      }
    }
  }

  /** Starts a run, or tells the sink soon why not; before it returns the sink hears at most `sent`. */
  dispatch(order: RunOrder, sink: RunSink): RunHandle {
    const run = new Run(this.#nextStream(), order, sink, this.#link)
    const refusal = this.#cannotTake()
    if (refusal) queueMicrotask(() => run.refuse({ retry: true, refusal }))
    else if (this.#runs.size >= this.slots) this.#waiting.push(run)
    else this.#start(run)
    return run
  }

  /** Has it look at an answer again, apart from its runs. */
  check(ask: CheckAsk, signal: AbortSignal): CheckRun {
    return this.#checks.check(ask, signal, this.#cannotLook())
  }

  /** Its kernel class by a text. */
  calibrate(ask: CalibrationAsk, signal: AbortSignal): Promise<string> {
    return this.#checks.calibrate(ask, signal, this.#cannotLook())
  }

  /** Tells it the name of its kernel class, for its statements. Nothing when it is not told of such things. */
  tellKernel(model: string, kernel: string | null): void {
    if (!this.serving || !this.features.includes(verifyFeature)) return
    this.#session.send(messageType.kernel, encodeKernel(model, kernel))
  }

  /** Offers it a model file of the pool's. False when it has another, or takes none. */
  offerModel(model: ModelOffered): boolean {
    if (!this.serving || !this.room || this.#fetching) return false
    const { offer, name, digest, bytes } = model
    this.#fetching = { offer, name, digest, bytes: 0, bytesOf: bytes }
    this.#session.send(messageType.offerModel, encodeOfferModel(model))
    return true
  }

  /** The model it was offered is not wanted any more; whatever it still says of it is not heard. */
  withdrawModel(): void {
    if (!this.#fetching || this.#ended) return
    this.#session.send(messageType.withdrawModel, encodeWithdrawModel(this.#fetching.offer))
    this.#fetching = undefined
  }

  /** A word about an offer that was withdrawn meanwhile has crossed the withdrawal. */
  #fetched({ offer, code }: Extract<WorkerMessage, { say: 'fetched' }>): void {
    const fetch = this.#fetching
    if (fetch?.offer !== offer) return
    this.#fetching = undefined
    const known = code !== null && Object.hasOwn(refusalCodes, code) ? (code as RefusalCode) : 'internal_error'
    this.#host.fetched(this, fetch, code === null ? undefined : known)
  }

  #cannotLook(): Refusal | undefined {
    if (!this.serving) return lostVerifier('it is not connected')
    if (!this.features.includes(verifyFeature)) return noVerifier
    if (this.draining) return busy('is draining')
    return this.#session.bufferedBytes() > workersLimits.unsentBytesMax ? busy('reads too slowly') : undefined
  }

  #cannotTake(): Refusal | undefined {
    if (this.draining) return busy('is draining')
    let taken = this.#waiting.length + this.#runs.size
    if (taken >= this.slots) for (const run of this.#runs.values()) if (run.stopping) taken--
    if (taken >= this.slots) return busy('has no free slot')
    if (this.#session.bufferedBytes() > workersLimits.unsentBytesMax) return busy('reads too slowly')
    return undefined
  }

  #start(run: Run): void {
    const { body, papers, jobId: _, ...order } = run.order
    const header = {
      ...order,
      stream: run.stream,
      lease: order.lease ?? this.#runtime.uuid(),
      deadlineMs: run.msLeft,
      credit: workersLimits.creditBytes,
    }
    const parts = encodeDispatch(header, papers, body)
    if (parts.reduce((sum, part) => sum + part.length, 1) > protocolLimits.messageBytesMax) {
      queueMicrotask(() => run.refuse({ retry: false, refusal: tooLong }))
      return
    }
    if (this.#runs.size === 0) this.#meter.busy(true, this.#runtime.monotonic())
    this.#runs.set(run.stream, run)
    run.started()
    this.#session.send(messageType.dispatch, parts)
  }

  #released(run: Run): void {
    if (!this.#runs.delete(run.stream)) {
      this.#waiting = this.#waiting.filter((other) => other !== run)
      return
    }
    const next = this.#runs.size < this.slots ? this.#waiting.shift() : undefined
    if (next) this.#start(next)
    if (this.#runs.size === 0) this.#meter.busy(false, this.#runtime.monotonic())
  }

  /** A number no open run has; they come round after 2^32 runs. */
  #nextStream(): number {
    do this.#lastStream = (this.#lastStream + 1) >>> 0
    while (this.#runs.has(this.#lastStream))
    return this.#lastStream
  }

  /** Approved or renewed while connected: the worker is told at once. False when that is what it was already. */
  admit(admission: Admission): boolean {
    const { standing, expiresAt, operator } = this.#admission
    const sameExpiry = expiresAt?.getTime() === admission.expiresAt?.getTime()
    if (standing === admission.standing && operator === admission.operator && sameExpiry) return false
    this.#admission = admission
    if (this.greeted) this.#welcome()
    return true
  }

  /** Draining by the pool's operator; what the worker asked for itself stays. */
  drain(on: boolean): void {
    this.#drainOrdered = on
  }

  /** Asks for a sign of life; `answered` is called with the next heartbeat. */
  ask(answered: () => void): void {
    this.#onAnswer = answered
    this.#session.send(messageType.ping)
  }

  #answered(): void {
    const tell = this.#onAnswer
    this.#onAnswer = undefined
    tell?.()
  }

  /** The time this process slept is not the worker's silence. */
  forgive(ms: number): void {
    this.#heardAt += ms
  }

  /** Looks at the clocks: monotonic for waits, wall clock for the key's expiry. */
  sweep(nowMs: number, wallMs: number): void {
    const refusal = this.#outOfTime(nowMs, wallMs)
    if (refusal) {
      this.refuse(refusal)
      return
    }
    this.#meter.fold(nowMs)
    this.#sweepRuns(nowMs)
    const wrong = this.#checks.sweep(nowMs)
    if (wrong !== undefined) this.#violate(wrong)
    if (!this.greeted || this.#ended || nowMs < this.#pingAt) return
    this.#pingAt = nowMs + workersLimits.heartbeatMs
    this.#session.send(messageType.ping)
  }

  #outOfTime(nowMs: number, wallMs: number): Refusal | undefined {
    if (nowMs - this.#heardAt >= workersLimits.silentMsMax) return silent
    if (!this.greeted && nowMs - this.#openedAt >= workersLimits.helloMsMax) return noHello
    return this.expiresAt !== null && wallMs >= this.expiresAt.getTime() ? expired(this.expiresAt) : undefined
  }

  #sweepRuns(nowMs: number): void {
    for (const run of this.#runs.values()) {
      const wrong = run.sweep(nowMs)
      if (wrong === undefined) continue
      this.#violate(wrong)
      return
    }
    for (const run of this.#waiting) run.sweep(nowMs)
  }

  /** Tells the worker why and ends the session. */
  refuse(refusal: Refusal): void {
    if (this.#ended) return
    this.#session.send(messageType.refused, encodeRefused(refusal))
    this.#session.onClose = undefined
    this.#session.close(closeCodeOf(refusal.code), refusal.code)
    this.#end(refusal.code)
  }

  #violate(message: string): void {
    this.#host.violated(this, message)
    this.refuse(violation(message))
  }

  #welcome(): void {
    const { standing, expiresAt, id } = this
    const heartbeatMs = workersLimits.heartbeatMs
    const welcome = { standing, worker: id, expiresAt: expiresAt?.toISOString() ?? null, heartbeatMs }
    this.#session.send(messageType.welcome, encodeWelcome(welcome))
  }

  /** The room hears first, so that nobody chooses this worker again for the runs that are lost now. */
  #end(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    const runs = [...this.#runs.values(), ...this.#waiting]
    this.#runs = new SlotMap()
    this.#waiting = []
    this.#host.ended(this, reason)
    for (const run of runs) run.lost(reason)
    this.#checks.lost(reason)
  }
}
