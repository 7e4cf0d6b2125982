import {
  type ModelOffered,
  PoolError,
  type Refusal,
  type RefusalCode,
  SignatureChecker,
  type WorkerId,
} from '#protocol'
import type { Runtime, Timer } from '#runtime'
import type { SecureSession } from '#transport'
import type { CheckAsk, CheckRun } from './check.ts'
import type { CalibrationAsk } from './checks.ts'
import { Contest } from './contest.ts'
import { workersLimits } from './limits.ts'
import { RecentStandings } from './recent-standings.ts'
import { lostVerifier, replaced, sessionExists, shuttingDown } from './refusals.ts'
import type { RunHandle, RunOrder, RunSink } from './run.ts'
import { type Violation, Violations } from './violations.ts'
import { type Admission, type ConnectedWorker, type OfferedFetch, WorkerSession } from './worker-session.ts'

/** What the room reports, for logs, counters and the scheduler. All are called synchronously and must not throw. */
export interface WorkersListener {
  /** May be given work from now on: greeted and approved. */
  onAvailable?(worker: ConnectedWorker): void
  /** An available worker's offers, slots, draining or expiry changed. */
  onChanged?(worker: ConnectedWorker): void
  /** A worker that was available is gone. Called before its runs hear `lost`. */
  onGone?(id: WorkerId, reason: string): void
  /** It said hello, pending or approved. */
  connected?(worker: ConnectedWorker): void
  /** Its session ended, greeted or not. */
  left?(worker: ConnectedWorker, reason: string): void
  /** Its last word on a model it was offered: it holds and lends it, or why not. */
  fetched?(worker: ConnectedWorker, fetch: OfferedFetch, whyNot: RefusalCode | undefined): void
  violated?(id: WorkerId, violation: Violation): void
  /** A second session of a key: refused because the first answered, or taking its place. */
  contested?(id: WorkerId, outcome: 'refused' | 'replaced'): void
}

/** A connected worker and what it did against the protocol. */
export interface WorkerDetails {
  readonly worker: ConnectedWorker | undefined
  readonly violations: readonly Violation[]
}

const notConnected = lostVerifier('it is not connected')

/** All workers connected to this pool process. One session per key; nothing here is durable. */
export class Workers implements Disposable {
  readonly #runtime: Runtime
  readonly #listener: WorkersListener
  readonly #sessions = new Map<WorkerId, WorkerSession>()
  readonly #contests = new Map<WorkerId, Contest>()
  readonly #available = new Set<WorkerSession>()
  readonly #violations = new Violations()
  readonly #recent: RecentStandings
  readonly #checker = new SignatureChecker()
  readonly #sweeper: Timer
  #sweptAt: number
  #closed = false

  constructor(options: { runtime: Runtime } & WorkersListener) {
    this.#runtime = options.runtime
    this.#listener = options
    this.#recent = new RecentStandings(options.runtime)
    this.#sweptAt = options.runtime.monotonic()
    this.#sweeper = options.runtime.every(workersLimits.sweepMs, () => this.#sweep())
  }

  /** Sessions open, greeted or not. */
  get size(): number {
    return this.#sessions.size
  }

  /** Takes over a session whose handshake identity has admitted. */
  attach(session: SecureSession, admitted: Admission): void {
    const id = session.peer.id as WorkerId
    const latest = this.#closed ? shuttingDown : this.#recent.latest(id, admitted)
    const first = this.#sessions.get(id)
    if ('code' in latest) Contest.refuse(session, latest)
    else if (!first) this.#open(session, latest)
    else if (this.#contests.has(id)) this.#refuseSecond(session)
    else this.#contest(first, session, latest)
  }

  /** Gives a run to a worker. Before this returns the sink hears at most `sent`. */
  dispatch(id: WorkerId, order: RunOrder, sink: RunSink): RunHandle {
    const session = this.#sessions.get(id)
    if (session?.serving) return session.dispatch(order, sink)
    let cancelled = false
    queueMicrotask(() => {
      if (!cancelled) sink.lost('it is not connected')
    })
    return {
      cancel() {
        if (!cancelled) queueMicrotask(() => sink.acknowledged?.(undefined))
        cancelled = true
      },
      consumed() {},
    }
  }

  /** Has a worker look at another one's answer again. What is waited for rejects when the signal aborts, with its reason. */
  check(id: WorkerId, ask: CheckAsk, signal: AbortSignal): CheckRun {
    const session = this.#sessions.get(id)
    if (session) return session.check(ask, signal)
    const gone = Promise.reject(PoolError.from(notConnected))
    gone.catch(() => {})
    return { id: '', committed: gone, reveal: () => gone }
  }

  /** Measures a worker's kernel class by a text: sha256, 64 hex digits, comparable with others by the same text only. */
  async calibrate(id: WorkerId, ask: CalibrationAsk, signal: AbortSignal): Promise<string> {
    const session = this.#sessions.get(id)
    if (!session) throw PoolError.from(notConnected)
    return session.calibrate(ask, signal)
  }

  /** Tells a connected worker which kernel class the pool has found it to be of, with one model. */
  tellKernel(id: WorkerId, model: string, kernel: string | null): void {
    this.#sessions.get(id)?.tellKernel(model, kernel)
  }

  /** Offers a worker a model file of the pool's. False when it is not there, has another, or takes none. */
  offerModel(id: WorkerId, model: ModelOffered): boolean {
    return this.#sessions.get(id)?.offerModel(model) ?? false
  }

  /** The model it was offered is not wanted any more. */
  withdrawModel(id: WorkerId): void {
    this.#sessions.get(id)?.withdrawModel()
  }

  /** An operator approved or renewed the worker: it is told at once if it is here. Hearing it twice changes nothing. */
  standingChanged(id: WorkerId, admission: Admission): void {
    this.#recent.admitted(id, admission)
    this.#contests.get(id)?.admit(admission)
    const session = this.#sessions.get(id)
    if (session?.admit(admission)) this.#offer(session)
  }

  /** Ends a worker's session now (revoked, expired, removed). False when it has none. */
  disconnect(id: WorkerId, refusal: Refusal): boolean {
    this.#recent.refused(id, refusal)
    this.#contests.get(id)?.refuse(refusal)
    const session = this.#sessions.get(id)
    session?.refuse(refusal)
    return session !== undefined
  }

  /** Ends every session from such an address now, greeted or not; says whose. */
  disconnectFrom(meant: (address: string) => boolean, refusal: Refusal): WorkerId[] {
    const ended = [...this.#sessions.values()].filter(({ address }) => meant(address))
    for (const session of ended) session.refuse(refusal)
    return ended.map(({ id }) => id)
  }

  /** No new work for it, or new work again. False when it is not connected. */
  drain(id: WorkerId, on = true): boolean {
    const session = this.#sessions.get(id)
    session?.drain(on)
    if (session && this.#available.has(session)) this.#listener.onChanged?.(session)
    return session !== undefined
  }

  /** Every worker that said hello. */
  list(): ConnectedWorker[] {
    return [...this.#sessions.values()].filter((session) => session.greeted)
  }

  show(id: WorkerId): WorkerDetails {
    const session = this.#sessions.get(id)
    return { worker: session?.greeted ? session : undefined, violations: this.#violations.of(id) }
  }

  /** Every session is told that the pool goes away; runs are lost. Workers come back by themselves. */
  close(): void {
    this.#closed = true
    this.#sweeper.cancel()
    for (const contest of this.#contests.values()) contest.refuse(shuttingDown)
    for (const session of [...this.#sessions.values()]) session.refuse(shuttingDown)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #open(session: SecureSession, admission: Admission): void {
    const opened = new WorkerSession(session, admission, this.#runtime, {
      greeted: (worker) => {
        this.#listener.connected?.(worker)
        this.#offer(worker)
      },
      changed: (worker) => {
        if (this.#available.has(worker)) this.#listener.onChanged?.(worker)
      },
      ended: (worker, reason) => this.#ended(worker, reason),
      fetched: (worker, fetch, whyNot) => this.#listener.fetched?.(worker, fetch, whyNot),
      violated: (worker, message) => this.#violated(worker, message),
      checker: this.#checker,
    })
    this.#sessions.set(opened.id, opened)
    opened.open()
  }

  /** Tells the scheduler once it may use the worker, and of every change after that. */
  #offer(worker: WorkerSession): void {
    if (!worker.serving) return
    if (this.#available.has(worker)) this.#listener.onChanged?.(worker)
    else {
      this.#available.add(worker)
      this.#listener.onAvailable?.(worker)
    }
  }

  #ended(worker: WorkerSession, reason: string): void {
    if (this.#sessions.get(worker.id) === worker) this.#sessions.delete(worker.id)
    if (this.#available.delete(worker)) this.#listener.onGone?.(worker.id, reason)
    this.#listener.left?.(worker, reason)
    this.#contests.get(worker.id)?.firstGone()
  }

  #violated(worker: WorkerSession, message: string): void {
    const violation = { at: this.#runtime.now(), message }
    this.#violations.record(worker.id, violation)
    this.#listener.violated?.(worker.id, violation)
  }

  /** Contracts: the pool pings the first; answered, the second is refused, else it takes its place. */
  #contest(first: WorkerSession, second: SecureSession, admission: Admission): void {
    const contest = new Contest(second, admission, this.#runtime, {
      dropped: () => this.#contests.delete(first.id),
      firstAnswered: () => this.#refuseSecond(second),
      firstSilent: () => {
        this.#listener.contested?.(first.id, 'replaced')
        first.refuse(replaced)
      },
      firstEnded: () => this.#open(second, contest.admission),
    })
    this.#contests.set(first.id, contest)
    first.ask(() => contest.answered())
  }

  #refuseSecond(session: SecureSession): void {
    this.#listener.contested?.(session.peer.id as WorkerId, 'refused')
    Contest.refuse(session, sessionExists)
  }

  #sweep(): void {
    const now = this.#runtime.monotonic()
    const wall = this.#runtime.now()
    const sleptMs = now - this.#sweptAt - workersLimits.sweepMs
    this.#sweptAt = now
    this.#recent.sweep()
    for (const session of this.#sessions.values()) {
      if (sleptMs > 2 * workersLimits.sweepMs) session.forgive(sleptMs)
      session.sweep(now, wall)
    }
  }
}
