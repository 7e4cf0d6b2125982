import {
  type DispatchHeader,
  messageType,
  protocolLimits,
  type Refusal,
  type RefusalCode,
  refusalCodes,
  type Welcome,
} from '#protocol'
import { type Runtime, SlotMap, type Timer } from '#runtime'
import { closeCode, type SecureSession } from '#transport'
import {
  decodePoolMessage,
  encodeCheckFailed,
  encodeFailed,
  encodeHeartbeat,
  encodeHello,
  type Papers,
  type PoolMessage,
} from '#workers'
import { AgentRun } from './agent-run.ts'
import { CheckDesk } from './check-desk.ts'
import type { AgentLog, EngineSet } from './engine-set.ts'
import { Flusher } from './flusher.ts'
import { agentLimits } from './limits.ts'
import type { ModelDesk } from './model-desk.ts'
import type { Flushers } from './outbox.ts'
import type { PaperDesk } from './papers.ts'

export interface PoolLinkOptions {
  readonly session: SecureSession
  readonly engines: EngineSet
  readonly runtime: Runtime
  readonly log: AgentLog
  readonly desk: PaperDesk
  /** Takes models that the pool chooses; a worker without one takes none. */
  readonly models?: ModelDesk | undefined
  /** The first welcome, and each later one (approved, renewed). */
  onWelcome(welcome: Welcome): void
}

/** How a session ended: what the pool said, or what broke. */
export type LinkEnd = Pick<Refusal, 'code' | 'message' | 'fix'>

/** The worker's side of one session: greets, answers pings, runs what is dispatched, until it ends. */
export class PoolLink {
  readonly #session: SecureSession
  readonly #engines: EngineSet
  readonly #runtime: Runtime
  readonly #log: AgentLog
  readonly #desk: PaperDesk
  readonly #models: ModelDesk | undefined
  readonly #onWelcome: (welcome: Welcome) => void
  readonly #runs = new SlotMap<number, AgentRun>()
  readonly #checks: CheckDesk
  /** Kernel class by model, as this pool has measured it. */
  readonly #kernels = new Map<string, string>()
  readonly #flushers: Flushers
  readonly #sweeper: Timer
  readonly #end = Promise.withResolvers<LinkEnd>()
  readonly #idle: (() => void)[] = []
  #ended = false
  #draining = false
  #slots = 1
  #welcome: Welcome | undefined
  #openedAt: number
  #heardAt: number
  #saidAt: number
  #sweptAt: number

  constructor({ session, engines, runtime, log, desk, models, onWelcome }: PoolLinkOptions) {
    this.#session = session
    this.#engines = engines
    this.#runtime = runtime
    this.#log = log
    this.#desk = desk
    this.#models = models
    this.#onWelcome = onWelcome
    this.#flushers = {
      soon: new Flusher(runtime, agentLimits.coalesceMs),
      late: new Flusher(runtime, agentLimits.coalesceWholeMs),
    }
    this.#checks = new CheckDesk({ runtime, log, engines, desk, send: (type, body) => this.#say(type, body) })
    this.#openedAt = this.#heardAt = this.#saidAt = this.#sweptAt = runtime.monotonic()
    this.#sweeper = runtime.every(agentLimits.sweepMs, () => this.#sweep())
    engines.onChanged = () => this.#say(messageType.offer, this.#offer())
    session.onClose = ({ reason }) => this.#finish(connectionLost(reason))
    this.#say(messageType.hello, this.#offer())
    models?.opened({ say: (type, body) => this.#say(type, body) })
    session.onMessage = (type, body) => this.#receive(type, body)
  }

  /** Resolves when the session is over, from whichever side. Never rejects. */
  get ended(): Promise<LinkEnd> {
    return this.#end.promise
  }

  get active(): number {
    return this.#runs.size
  }

  /** Takes nothing new; resolves when what runs has ended, or the session has. */
  async drain(): Promise<void> {
    if (this.#ended) return
    this.#draining = true
    this.#checks.stop()
    this.#models?.ended()
    this.#say(messageType.drain)
    if (this.#runs.size === 0) return
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  /** Leaves at once; the pool gives unfinished runs to others. */
  leave(): void {
    this.#close(closeCode.goingAway, {
      code: 'shutting_down',
      message: 'The worker is shutting down.',
      fix: 'Nothing: start it again when it is wanted.',
    })
  }

  #offer(): Buffer {
    const hello = this.#engines.hello()
    this.#slots = hello.slots
    return encodeHello(hello)
  }

  #say(type: number, body?: Buffer | readonly Buffer[]): void {
    if (this.#ended) return
    this.#saidAt = this.#runtime.monotonic()
    this.#session.send(type, body)
  }

  #receive(type: number, body: Buffer): void {
    if (this.#ended) return
    this.#heardAt = this.#runtime.monotonic()
    const decoded = decodePoolMessage(type, body)
    if (decoded.ok) this.#handle(decoded.message)
    else this.#close(closeCode.protocolViolation, decoded.refusal)
  }

  #handle(message: PoolMessage): void {
    switch (message.say) {
      case 'dispatch':
        this.#dispatch(message.header, message.papers, message.body)
        break
      case 'credit':
        this.#runs.get(message.stream)?.give(message.bytes)
        break
      case 'cancel':
        this.#runs.get(message.stream)?.stop('cancelled')
        break
      case 'check':
        if (this.#draining) this.#turnCheckAway(message.header.check)
        else this.#checks.check(message.header, message.body, message.tokens)
        break
      case 'calibrate':
        if (this.#draining) this.#turnCheckAway(message.calibrate.check)
        else this.#checks.calibrate(message.calibrate)
        break
      case 'reveal':
        this.#checks.reveal(message.check)
        break
      case 'withdraw':
        this.#checks.withdraw(message.check)
        break
      case 'kernel':
        if (message.kernel === null) this.#kernels.delete(message.model)
        else if (this.#kernels.size < protocolLimits.modelsPerWorkerMax)
          this.#kernels.set(message.model, message.kernel)
        break
      case 'offerModel':
        if (this.#models) this.#models.take(message.model)
        else this.#close(closeCode.protocolViolation, takesNoModels)
        break
      case 'withdrawModel':
        this.#models?.withdraw(message.offer)
        break
      case 'ping':
        this.#say(messageType.heartbeat, encodeHeartbeat(this.#runs.size))
        break
      case 'welcome':
        this.#welcome = message.welcome
        this.#onWelcome(message.welcome)
        break
      case 'refused':
        this.#close(closeCode.goingAway, refusalOf(message.refused))
    }
  }

  #dispatch(header: DispatchHeader, papers: Papers, body: Buffer): void {
    if (this.#runs.has(header.stream)) this.#close(closeCode.protocolViolation, streamTwice)
    else if (this.#draining) this.#turnAway(header.stream, takesNothing('shutting_down'))
    else if (this.#runs.size >= this.#slots) this.#turnAway(header.stream, takesNothing('overloaded'))
    else this.#start(header, papers, body)
  }

  #start(header: DispatchHeader, papers: Papers, body: Buffer): void {
    const verdict = this.#desk.admit(header, papers, body, this.#session.peer.publicKey)
    if (!verdict.ok) {
      this.#log.warn({ stream: header.stream, why: verdict.refusal.message }, 'assignment refused')
      this.#turnAway(header.stream, verdict.refusal)
      return
    }
    const run = new AgentRun(header, verdict.assignment, {
      runtime: this.#runtime,
      log: this.#log,
      flushers: this.#flushers,
      desk: this.#desk,
      kernel: this.#kernels.get(header.model) ?? null,
      send: (type, bytes) => this.#say(type, bytes),
      ended: (done) => this.#done(done),
    })
    this.#runs.set(run.stream, run)
    run.start(this.#engines.choose(header.model, header.digest), body)
  }

  #turnAway(stream: number, { code, message, fix }: LinkEnd): void {
    const failed = { stream, retry: true, code, message, fix, param: null }
    this.#say(messageType.failed, encodeFailed(failed))
  }

  #turnCheckAway(check: string): void {
    const { code, message, fix } = takesNothing('shutting_down')
    this.#say(messageType.checkFailed, encodeCheckFailed({ check, code, message, fix }))
  }

  #done(run: AgentRun): void {
    this.#runs.delete(run.stream)
    if (this.#runs.size > 0) return
    for (const wake of this.#idle.splice(0)) wake()
  }

  /** Time in which this process slept (a closed lid) is not the pool's silence: a ping may be waiting to be read. */
  #sweep(): void {
    const now = this.#runtime.monotonic()
    const sleptMs = now - this.#sweptAt - agentLimits.sweepMs
    this.#sweptAt = now
    if (sleptMs > 2 * agentLimits.sweepMs) {
      this.#heardAt += sleptMs
      this.#openedAt += sleptMs
    }
    for (const run of this.#runs.values()) run.sweep(now)
    this.#checks.sweep(now)
    if (!this.#welcome) {
      if (now - this.#openedAt >= agentLimits.welcomeMsMax) this.#close(closeCode.authDeadline, noWelcome)
      return
    }
    const { heartbeatMs } = this.#welcome
    if (now - this.#heardAt >= heartbeatMs * agentLimits.silentHeartbeatsMax) {
      this.#close(closeCode.goingAway, connectionLost('the pool is silent'))
    } else if (now - this.#saidAt >= heartbeatMs) this.#say(messageType.heartbeat, encodeHeartbeat(this.#runs.size))
  }

  #close(code: number, end: LinkEnd): void {
    if (this.#ended) return
    this.#session.onClose = undefined
    this.#session.close(code, end.code)
    this.#finish(end)
  }

  #finish(end: LinkEnd): void {
    if (this.#ended) return
    this.#ended = true
    this.#sweeper.cancel()
    this.#engines.onChanged = undefined
    this.#models?.ended()
    for (const run of this.#runs.values()) run.stop('abandoned')
    this.#checks.stop()
    for (const wake of this.#idle.splice(0)) wake()
    this.#end.resolve(end)
  }
}

/** A code this release does not know is treated like a lost connection: try again. */
function refusalOf(refused: { code: string; message: string; fix: string }): LinkEnd {
  const known = Object.hasOwn(refusalCodes, refused.code)
  return { ...refused, code: known ? (refused.code as RefusalCode) : 'internal_error' }
}

const takesNothing = (code: 'shutting_down' | 'overloaded'): LinkEnd => ({
  code,
  message: 'The worker takes nothing more.',
  fix: 'Ask another worker.',
})

const connectionLost = (reason: string): LinkEnd => ({
  code: 'pool_unreachable',
  message: `The connection to the pool ended${reason ? ` (${reason})` : ''}.`,
  fix: 'Nothing: the worker connects again by itself.',
})

const streamTwice: LinkEnd = {
  code: 'protocol_violation',
  message: 'The pool opened a stream that is already open.',
  fix: 'Run the same release of lichen on both sides.',
}

const takesNoModels: LinkEnd = {
  code: 'protocol_violation',
  message: 'The pool offered a model to a worker that takes none.',
  fix: 'Run the same release of lichen on both sides.',
}

const noWelcome: LinkEnd = {
  code: 'auth_deadline',
  message: `The pool did not answer the greeting within ${agentLimits.welcomeMsMax / 1_000} s.`,
  fix: 'Look at the load of the pool.',
}
