import type { Runtime } from '#runtime'
import { featureBits, type Lane, type Scheduler } from '#scheduler'
import type { Papers, RunHandle, RunSink, Workers } from '#workers'
import { Attempt } from './attempt.ts'
import type { Choice } from './choice.ts'
import type { Companies } from './companies.ts'
import type { AttemptNames, JobEvents } from './events.ts'
import type { Orders } from './orders.ts'
import type { OutcomeWriter } from './outcome-writer.ts'
import type { Roster } from './roster.ts'
import { type AttemptListener, RunRelay } from './run-relay.ts'
import type { WorkEstimate } from './work-estimate.ts'

export interface PlacementOptions {
  readonly runtime: Runtime
  readonly workers: Pick<Workers, 'dispatch'>
  readonly orders: Orders
  readonly scheduler: Scheduler<Choice>
  readonly roster: Roster
  readonly writer: OutcomeWriter
  readonly events: JobEvents
  readonly estimate: WorkEstimate
  readonly companies: Companies
}

const resumeBit = featureBits(['resume'])

/** Brings choices to workers: waits its turn, leases, dispatches, gives slots back. */
export class Placement {
  readonly #o: PlacementOptions
  readonly #listener: AttemptListener

  constructor(options: PlacementOptions, listener: AttemptListener) {
    this.#o = options
    this.#listener = listener
  }

  /** First attempt: waits its turn. */
  submit(choice: Choice): void {
    const { job } = choice
    choice.held = false
    choice.waitingSince = job.acceptedMonotonic
    if (choice.panel && choice !== job.choices[0]) {
      // It sits beside one that had its turn.
      this.#o.scheduler.withdraw(job.request.key.id, 1)
      this.resubmit(choice)
      return
    }
    const lane = this.#laneOf(choice)
    const ask = { key: job.request.key.id, cost: this.#o.estimate.of(job.request), prefix: job.prefix }
    const placed = this.#o.scheduler.submit(lane, ask, choice)
    if ('workerId' in placed) this.#start(choice, placed.workerId, lane)
    else choice.waiting = placed.waiting
  }

  /** Later attempts go first, on a worker that has not failed this choice, and whose operator has no part in its panel. */
  resubmit(choice: Choice): void {
    const lane = this.#laneOf(choice)
    const { panel } = choice
    const admits = panel && ((id: string) => !panel.hasOther(choice, this.#operatorOf(id)))
    const placed = this.#o.scheduler.resubmit(lane, [...choice.excluded, ...choice.busy], choice, admits)
    if ('workerId' in placed) this.#start(choice, placed.workerId, lane)
    else choice.waiting = placed.waiting
  }

  /** It waits no longer. */
  withdraw(choice: Choice): void {
    if (choice.held) this.#o.scheduler.withdraw(choice.job.request.key.id, 1)
    choice.held = false
    if (choice.waiting) this.#o.scheduler.cancel(choice.waiting)
    choice.waiting = undefined
  }

  /** A worker came, or gained room. */
  refill(workerId: string): void {
    for (let next = this.#o.scheduler.next(workerId); next; next = this.#o.scheduler.next(workerId)) {
      const choice = next.item
      const lane = choice.waiting?.lane
      choice.waiting = undefined
      if (next.charged) choice.charged = this.#o.estimate.of(choice.job.request)
      if (lane) this.#start(choice, workerId, lane)
    }
  }

  /** A run ended there; `well` tells something about the worker, unless it is undefined. */
  freed(workerId: string, well: boolean | undefined): void {
    if (well !== undefined) this.#o.roster.ranWell(workerId, well)
    this.#o.scheduler.workers.release(workerId)
    this.refill(workerId)
  }

  /** Whether any connected worker could ever take this waiting choice. */
  isHopeful(choice: Choice): boolean {
    const lane = choice.waiting?.lane
    if (!lane) return false
    if (choice.panel) return this.#someoneElse(choice, lane)
    return lane.size > choice.excluded.filter((id) => this.#o.scheduler.workers.isIn(lane, id)).length
  }

  /** Whether one more worker could be asked for a panel at all, now or later. */
  hasMore(choice: Choice): boolean {
    return this.#someoneElse(choice, this.#laneOf(choice))
  }

  #someoneElse(choice: Choice, lane: Lane): boolean {
    for (const [operator, ids] of this.#o.companies.byOperator(lane)) {
      if (choice.panel?.hasOther(choice, operator)) continue
      if (ids.some((id) => !choice.excluded.includes(id))) return true
    }
    return false
  }

  #operatorOf(workerId: string): string {
    return this.#o.roster.get(workerId)?.operator ?? ''
  }

  /** A begun answer is continued by whoever has the same model file, under whatever name. */
  #laneOf(choice: Choice): Lane {
    const { job } = choice
    const { workers } = this.#o.scheduler
    if (choice.begun) return workers.lane(`@${choice.digest}`, job.features | resumeBit)
    const { model } = job.request
    if (job.kernel !== undefined) return workers.lane(`${model}@${job.digest}#${job.kernel}`, job.features)
    // All choices of a job come from one model file, or all from upstreams that have none to show.
    return workers.lane(job.digest === undefined ? model : `${model}@${job.digest ?? ''}`, job.features)
  }

  /** The worker is taken; whatever goes wrong here is this job's trouble and nobody else's. */
  #start(choice: Choice, workerId: string, lane: Lane): void {
    const { job } = choice
    try {
      this.#lease(choice, workerId, lane)
      for (const other of job.choices) if (other.held && !job.over) this.submit(other)
    } catch (error) {
      if (choice.attempt?.workerId !== workerId) this.#o.scheduler.workers.release(workerId)
      this.#listener.broke(choice, error)
    }
  }

  #lease(choice: Choice, workerId: string, lane: Lane): void {
    const { runtime, roster, scheduler, events, writer } = this.#o
    const { job, relay } = choice
    const found = roster.offerFor(workerId, lane)
    if (!found) throw new Error(`worker ${workerId} stands in a lane it has no offer for`)
    const { worker, offer } = found
    const now = runtime.monotonic()
    const decode = choice.panel ? 'isolated' : 'batched'
    const who = { id: workerId, digest: offer.digest, contextTokens: offer.contextTokens }
    const attempt = new Attempt(runtime.uuid(), who, runtime.now(), { n: choice.nextAttempt(), decode })
    choice.operator = worker.operator
    choice.attempts.push(attempt)
    if (job.digest === undefined) job.digest = offer.digest
    if (job.state === 'queued' || (choice.begun && job.state === 'streaming')) job.move('leased')
    scheduler.workers.remember(job.prefix, workerId)
    events.runLeased?.({
      ...namesOf(choice, attempt),
      waitedMs: now - choice.waitingSince,
      resumed: relay.pieces,
    })
    const order = {
      kind: job.request.kind,
      model: offer.name,
      digest: offer.digest,
      choice: choice.index,
      seed: job.seed,
      maxTokens: job.request.maxTokens,
      resume: relay.ids.slice(),
      deadlineMs: Math.max(1, Math.ceil(job.deadlineMonotonic - now)),
      lease: attempt.lease,
      jobId: job.id,
      body: job.request.body,
    }
    const sink = new RunRelay(choice, attempt, this.#listener)
    const run = new AssignedRun(sink)
    attempt.handle = run
    this.#assign(choice, attempt)
      .then((papers) => {
        if (!run.cancelled) run.begun(this.#o.workers.dispatch(worker.id, { ...order, papers }, sink))
      })
      .catch((error) => this.#listener.broke(choice, error))
    writer.moved(job)
  }

  /** The papers of an attempt; they come with the next turn of the event loop, under one signature with those of others. */
  async #assign(choice: Choice, attempt: Attempt): Promise<Papers> {
    const { job, relay } = choice
    const { workerId } = attempt
    attempt.prefix = relay.pieces > 0 ? (choice.prefix?.digest() ?? null) : null
    const { hash, papers } = await this.#o.orders.assign(job.ordered, {
      worker: Buffer.from(workerId, 'hex'),
      attempt: attempt.n,
      decode: attempt.decode,
      choice: choice.index,
      model: job.request.model,
      digest: attempt.digest === null ? null : Buffer.from(attempt.digest, 'hex'),
      prefix: attempt.prefix,
      prefixTokens: relay.pieces,
      seed: Buffer.from(job.seed, 'hex'),
      maxTokens: job.request.maxTokens,
      deadlineAt: job.deadlineAt,
      showOrder: this.#o.roster.demandsPayer(workerId),
    })
    attempt.assignment = hash
    return papers
  }
}

/** A run whose assignment is being signed; from then on the worker's own handle. */
class AssignedRun implements RunHandle {
  readonly #sink: RunSink
  #run: RunHandle | undefined
  cancelled = false

  constructor(sink: RunSink) {
    this.#sink = sink
  }

  begun(run: RunHandle): void {
    this.#run = run
  }

  cancel(): void {
    if (this.#run) this.#run.cancel()
    else if (!this.cancelled) queueMicrotask(() => this.#sink.acknowledged?.(undefined))
    this.cancelled = true
  }

  consumed(bytes: number): void {
    this.#run?.consumed(bytes)
  }
}

/** Names of an attempt for events. */
export function namesOf(choice: Choice, attempt: Attempt): AttemptNames {
  const { job, index } = choice
  return { jobId: job.id, choice: index, attempt: attempt.n, workerId: attempt.workerId }
}
