import type { Identity } from '#crypto'
import type { Leaf } from '#log'
import { assuranceWorkers, copiesOf, PoolError, protocolLimits, type Refusal, type WorkerId } from '#protocol'
import { type Runtime, Slots, type Timer } from '#runtime'
import { featureBits, type LaneFeature, prefixKeys, Scheduler } from '#scheduler'
import { type GroupCommit, part, type Sql, type Stage } from '#storage'
import type { CheckIntake, Comparison } from '#verification'
import type { Workers } from '#workers'
import type { AcceptedRequest, AssuranceWish } from './accepted-request.ts'
import { type Assurance, assuranceOf, ownEngineOnly, wishOf } from './assurance.ts'
import type { Choice } from './choice.ts'
import { Companies, type Company } from './companies.ts'
import type { JobEvents } from './events.ts'
import { type JobDetails, type JobSummary, listJobs, showJob } from './find-jobs.ts'
import { Idempotency, type IdempotentAnswer, type IdempotentRequest } from './idempotency.ts'
import { Job } from './job.ts'
import type { JobHandle, JobSink } from './job-sink.ts'
import { idempotencyStage } from './job-stages.ts'
import type { JobState } from './job-states.ts'
import { KnownModels } from './known-models.ts'
import { jobsLimits } from './limits.ts'
import { Orders, type Prices } from './orders.ts'
import { Orphans } from './orphans.ts'
import { OutcomeWriter } from './outcome-writer.ts'
import { PoolInstance } from './pool-instance.ts'
import {
  assuranceUnavailable,
  bodiesFull,
  cannotWrite,
  featureMissing,
  modelNotFound,
  onlyOutside,
  queueFull,
  shuttingDown,
  tooManySideBySide,
} from './refusals.ts'
import { type KernelOf, Roster, type RosterWorker, type TrustOf } from './roster.ts'
import { Runner } from './runner.ts'
import { samplerSeed } from './sampler-seed.ts'
import { acceptance, type Books, holdOf } from './settlement.ts'
import { NotAccepted, whyNotAccepted } from './why-not-accepted.ts'
import { WorkEstimate } from './work-estimate.ts'

/** What an operator may set; the defaults are {@link jobsLimits} and the scheduler's limits. */
export interface JobsSettings {
  readonly deadlineMs?: number | undefined
  readonly queueWaitMs?: number | undefined
  readonly noWorkerGraceMs?: number | undefined
  readonly takeoverGraceMs?: number | undefined
  readonly queuedRunsMax?: number | undefined
  readonly queuedRunsPerKeyMax?: number | undefined
  readonly bodyBytesMax?: number | undefined
  /** Workers that compute an answer with the assurance `required`, where its key does not say. */
  readonly requiredWorkers?: number | undefined
}

export interface JobsOptions {
  readonly runtime: Runtime
  readonly sql: Sql
  /** With `jobStages` among its stages, in their order. */
  readonly commit: Pick<GroupCommit, 'submit' | 'stalledForMs'>
  readonly workers: Pick<Workers, 'dispatch'>
  /** Keys the hashes of idempotency keys and bodies; ≥ 32 bytes that stay the same between starts. */
  readonly secret: Buffer
  /** No other pool process uses this database: jobs of earlier ones are interrupted at once. */
  readonly alone: boolean
  readonly events?: JobEvents
  readonly settings?: JobsSettings
  /** Signs orders as custodian, and assignments. */
  readonly pool: Identity
  /** Of the transparency log; among the stages of `commit`, as the last. */
  readonly logStage: Stage<Leaf>
  /** Why a model that only other pools have had cannot be asked for now; undefined: that is not so. */
  readonly whyAway?: (model: string) => Refusal | undefined
  /** Micro-credits a token of this model costs. */
  readonly pricesFor: (model: string) => Promise<Prices>
  /** For the whole pool; `optional` unless given. */
  readonly payerSignature?: 'optional' | 'required'
  /** Kernel classes, as far as they were measured; {@link Jobs.kernelsChanged} when they are others. */
  readonly kernelOf?: KernelOf
  /** Decides which answers are checked; absent: none are. */
  readonly checks?: CheckIntake
  /** Has workers look at each other's answers, where `required` is computed on machines whose arithmetic differs; absent: it is not. */
  readonly comparison?: Pick<Comparison, 'isSameClass' | 'look'>
  /** What checks say of workers, for choosing among them; {@link Jobs.trustChanged} when it is something else. */
  readonly trustOf?: TrustOf
  /** The pool that stands behind a worker which is another pool. */
  readonly peerOf?: (workerId: string) => string | undefined
  /** Why an answer to this request cannot be checked by sampling, as a word for machines; `undefined` when it can. */
  readonly whyUnchecked?: (request: AcceptedRequest) => string | undefined
}

/** How an answer will be checked, and who computes it side by side where several do. */
interface Assured {
  readonly assurance: Assurance
  readonly company: Company | undefined
}

/** Every job of this pool process. */
export class Jobs implements AsyncDisposable {
  readonly #o: JobsOptions
  readonly #deadlineMs: number
  readonly #whyUnchecked: (request: AcceptedRequest) => string | undefined
  readonly #bodyBytesMax: number
  readonly #events: JobEvents
  readonly #scheduler: Scheduler<Choice>
  readonly #roster: Roster
  readonly #companies: Companies
  readonly #requiredWorkers: number
  readonly #estimate = new WorkEstimate()
  readonly #writer: OutcomeWriter
  readonly #runner: Runner
  readonly #models: KnownModels
  readonly #instance: PoolInstance
  readonly #idempotency: Idempotency
  readonly #orders: Orders
  readonly #books: Books
  readonly #orphans: Orphans
  #sweeper: Timer | undefined
  readonly #writing = new Slots<Promise<void>>()
  #bodyBytes = 0
  readonly #letGo = ({ request }: Job) => {
    this.#bodyBytes -= request.body.length
  }
  #closed: Promise<void> | undefined
  #inHurry = false

  private constructor(options: JobsOptions) {
    const { runtime, sql, commit, workers, events = {}, settings = {} } = options
    this.#o = options
    this.#whyUnchecked =
      options.whyUnchecked ??
      ((request) => (options.checks ? options.checks.whyUnchecked(request) : 'checks_not_offered'))
    this.#deadlineMs = settings.deadlineMs ?? jobsLimits.deadlineMs
    this.#bodyBytesMax = settings.bodyBytesMax ?? jobsLimits.bodyBytesMax
    this.#events = events
    const scheduler = new Scheduler<Choice>({
      totalMax: settings.queuedRunsMax,
      perKeyMax: settings.queuedRunsPerKeyMax,
    })
    this.#scheduler = scheduler
    this.#roster = new Roster(scheduler.workers, options.kernelOf, options.trustOf)
    this.#companies = new Companies(this.#roster)
    this.#requiredWorkers = settings.requiredWorkers ?? assuranceWorkers.min
    const { pool, pricesFor, payerSignature = 'optional', logStage } = options
    this.#orders = new Orders({ pool, runtime, pricesFor, payerSignature })
    const { checks, peerOf } = options
    this.#books = { poolId: this.#orders.poolId, logStage, uuid: () => runtime.uuid(), checks, peerOf }
    this.#orphans = new Orphans(sql, runtime, commit, this.#books, events)
    this.#writer = new OutcomeWriter(commit, this.#books, events)
    this.#models = new KnownModels(sql, runtime)
    this.#instance = new PoolInstance(sql, runtime, events)
    this.#idempotency = new Idempotency(sql, runtime, options.secret)
    this.#runner = new Runner({
      runtime,
      workers,
      orders: this.#orders,
      scheduler,
      roster: this.#roster,
      writer: this.#writer,
      events,
      estimate: this.#estimate,
      companies: this.#companies,
      comparison: options.comparison,
      whyAway: ({ request }) => this.#whyAway(request),
      patience: {
        queueWaitMs: settings.queueWaitMs ?? jobsLimits.queueWaitMs,
        noWorkerGraceMs: settings.noWorkerGraceMs ?? jobsLimits.noWorkerGraceMs,
        takeoverGraceMs: settings.takeoverGraceMs ?? jobsLimits.takeoverGraceMs,
      },
    })
  }

  /** Registers this process and marks what dead ones left behind. */
  static async start(options: JobsOptions): Promise<Jobs> {
    const jobs = new Jobs(options)
    await jobs.#instance.start(options.alone)
    await jobs.#orphans.release()
    jobs.#sweeper = options.runtime.every(jobsLimits.sweepMs, () => {
      jobs.#runner.sweep()
      jobs.#idempotency.sweep()
      jobs.#orphans.sweep()
    })
    return jobs
  }

  /** For gauges. */
  get load(): { open: number; queued: number; unsettled: number; workers: number; bodyBytes: number } {
    const { size: workers } = this.#roster
    const { size: open } = this.#runner.jobs
    const { admitted: queued } = this.#scheduler
    return {
      open,
      queued,
      unsettled: this.#runner.unsettled + this.#writer.unsettled,
      workers,
      bodyBytes: this.#bodyBytes,
    }
  }

  /** For the workers' room: a worker may be given work, changed, or is gone. */
  workerAvailable(worker: RosterWorker): void {
    this.#roster.put(worker)
    this.#models.offered(worker.offers)
    this.#runner.refill(worker.id)
  }

  /** Its kernel classes were measured. */
  kernelsChanged(id: WorkerId): void {
    const worker = this.#roster.get(id)
    if (worker) this.workerAvailable(worker)
  }

  /** What checks say of a worker, or of all of them, changed. */
  trustChanged(id: string | undefined): void {
    for (const worker of this.#roster.trustChanged(id)) this.#runner.refill(worker)
  }

  workerGone(id: WorkerId): void {
    this.#roster.remove(id)
  }

  /**
   * Takes a request on: it is on disk when this resolves, and its answer goes to `sink`, which hears nothing before the
   * caller has the handle.
   * @throws PoolError model_not_found, unsupported_parameter, queue_full, overloaded, shutting_down, assurance_unavailable, privacy_unavailable,
   *         idempotency_in_progress, database_unavailable, order_*, payer_signature_required, insufficient_credit, budget_exceeded,
   *         rate_limit_exceeded, token_rate_exceeded.
   */
  async accept(request: AcceptedRequest, sink: JobSink): Promise<JobHandle> {
    const features = featureBits(laneNeeds(request))
    const unserved = this.#isServed(request, features) ? undefined : await this.#whyNotServed(request)
    const assured = this.#assure(request, features)
    const unassured = 'code' in assured ? assured : undefined
    const runs = request.choices * ('code' in assured ? 1 : (assured.company?.size ?? 1))
    const refusal = this.#closed ? shuttingDown : (unserved ?? unassured ?? this.#admit(request, runs))
    if (refusal || 'code' in assured) throw this.#refused(request, PoolError.from(refusal ?? shuttingDown))
    const lane = assured.assurance.reason === ownEngineOnly ? features | lentBit : features
    const job = this.#newJob(request, sink, lane, assured)
    const writing = this.#write(job)
    const slot = this.#writing.add(writing)
    try {
      await writing
    } catch (error) {
      this.#unaccepted(job, error)
      throw error instanceof PoolError ? this.#refused(request, error) : error
    } finally {
      this.#writing.remove(slot)
    }
    this.#runner.jobs.set(job.id, job)
    this.#events.jobAccepted?.({
      jobId: job.id,
      keyId: request.key.id,
      kind: request.kind,
      model: request.model,
      choices: request.choices,
    })
    // After the caller's own continuation: it must hold the handle before its sink is called.
    process.nextTick(() => this.#runner.begin(job))
    return job
  }

  /** Whether a request with this `Idempotency-Key` is new, and if not, what it is answered. */
  idempotent(request: IdempotentRequest): Promise<IdempotentAnswer> {
    return this.#idempotency.claim(request)
  }

  /** Jobs on record, newest first. */
  list(page: { after?: string | undefined; limit: number; state?: JobState | undefined }): Promise<JobSummary[]> {
    return listJobs(this.#o.sql, page)
  }

  show(id: string): Promise<JobDetails | undefined> {
    return showJob(this.#o.sql, id)
  }

  /**
   * Takes nothing new, gives what runs `graceMs` to end, interrupts the rest, and waits until every outcome is on disk.
   * A second call ends the grace.
   */
  close(graceMs = 0): Promise<void> {
    this.#inHurry = this.#closed !== undefined
    this.#closed ??= this.#close(graceMs)
    if (this.#inHurry) this.#runner.hurry()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(graceMs: number): Promise<void> {
    // What was being accepted is begun first.
    await Promise.allSettled(this.#writing)
    await this.#o.runtime.sleep(0)
    await this.#runner.idle(this.#inHurry ? 0 : graceMs)
    for (const job of this.#runner.jobs.values()) this.#runner.fail(job, shuttingDown, 'interrupted')
    this.#runner.settleAll()
    this.#sweeper?.cancel()
    await this.#writer.drain()
    await this.#orphans.settled()
    await this.#models.settled()
    await this.#instance.stop()
  }

  /** Whether a connected worker can do it. */
  #isServed(request: AcceptedRequest, features: number): boolean {
    const { workers } = this.#scheduler
    const key = modelKeyOf(request)
    return workers.offers(key) && workers.lane(key, features).size > 0
  }

  #whyAway(request: AcceptedRequest): Refusal | undefined {
    return mayLeave(request) ? this.#o.whyAway?.(request.model) : undefined
  }

  /** Why it is not worth waiting for a worker that can, or `undefined`: the model was served lately. */
  async #whyNotServed(request: AcceptedRequest): Promise<Refusal | undefined> {
    const away = this.#whyAway(request)
    if (away) return away
    const known = await this.#models.featuresOf(request.model)
    if (!known) return modelNotFound(request.model)
    const missing = request.needs.filter((feature) => !known.has(feature))
    if (missing.length > 0) return featureMissing(request.model, missing)
    const isOutside = request.privacy === 'paranoid' && this.#isServed(request, featureBits(request.needs))
    return isOutside ? onlyOutside(request.model) : undefined
  }

  /** How the answer will be checked, or why not although that was insisted on. */
  #assure(request: AcceptedRequest, features: number): Assured | Refusal {
    const wish = wishOf(request)
    if (wish.level === 'required' || wish.level === 'deterministic') return this.#accompany(request, wish, features)
    const unchecked = this.#whyUnchecked(request) ?? this.#whyUnseen(request, features)
    if (wish.explicit && wish.level !== 'none' && unchecked !== undefined) {
      return assuranceUnavailable(wish.level, unchecked, 'this pool cannot check answers to this request.')
    }
    const how = request.privacy === 'single-exposure' ? ownEngineOnly : null
    return { assurance: assuranceOf(wish, unchecked, how), company: undefined }
  }

  /** With single exposure only the pool's own engine may look, and not at what it has computed itself: somebody else has to compute. */
  #whyUnseen(request: AcceptedRequest, features: number): string | undefined {
    const isUnseen = request.privacy === 'single-exposure' && !this.#isServed(request, features | lentBit)
    return isUnseen ? 'single_exposure' : undefined
  }

  /** Workers that compute it side by side. */
  #accompany(request: AcceptedRequest, wish: AssuranceWish, features: number): Assured | Refusal {
    const { level } = wish
    const size = copiesOf(level, request.key.requiredWorkers ?? this.#requiredWorkers)
    const segments = request.choices * (2 * size - 1) * jobsLimits.attemptsMax
    if (segments > protocolLimits.segmentsMax) return tooManySideBySide(request.choices)
    const { workers } = this.#scheduler
    const byMargin = this.#o.comparison !== undefined && isReadable(request)
    const company = this.#companies.find(workers.lane(modelKeyOf(request), features), level, size, byMargin)
    if ('reason' in company) return assuranceUnavailable(level, company.reason, company.message)
    return { assurance: assuranceOf(wish, undefined), company }
  }

  #admit(request: AcceptedRequest, runs: number): Refusal | undefined {
    const { stalledForMs } = this.#o.commit
    if (stalledForMs > jobsLimits.writePatienceMs) return cannotWrite(stalledForMs)
    const retryAfterMs = this.#estimate.waitMs(this.#scheduler.admitted)
    if (this.#bodyBytes + request.body.length > this.#bodyBytesMax) return bodiesFull(retryAfterMs)
    const full = this.#scheduler.admit(request.key.id, request.key.weight, runs)
    if (full) return queueFull(full === 'key_full' ? 'key' : 'pool', retryAfterMs)
    this.#bodyBytes += request.body.length
    return undefined
  }

  #newJob(request: AcceptedRequest, sink: JobSink, features: number, assured: Assured): Job {
    const { runtime } = this.#o
    const seed =
      request.assignedSeed ?? (request.seed === undefined ? runtime.randomBytes(32) : samplerSeed(request.seed))
    const more = {
      id: runtime.uuid(),
      features,
      prefix: prefixKeys(request.key.id, request.prefix ?? []),
      seed: seed.toString('hex'),
      now: runtime.now(),
      monotonic: runtime.monotonic(),
      ...assured,
      deadlineMs: Math.min(request.deadlineMs ?? this.#deadlineMs, this.#deadlineMs),
      onClose: this.#letGo,
    }
    return new Job(request, sink, more, this.#runner)
  }

  async #write(job: Job): Promise<void> {
    job.ordered = await this.#orders.order(job.request, job.id, job.deadlineAt, job.panels?.[0]?.size ?? 1)
    job.sampling = this.#o.checks?.sample(job.acceptedAt)
    const hold = holdOf(job, (left) => {
      job.left = left
    })
    const operation = acceptance(job, this.#instance.id, this.#books, hold)
    const { key, idempotency: claim } = job.request
    if (claim) {
      const { keyMac, bodyMac } = claim
      operation.push(
        part(idempotencyStage, { keyId: key.id, keyMac, bodyMac, jobId: job.id, createdAt: job.acceptedAt }),
      )
    }
    const outcome = await this.#o.commit.submit(operation)
    if (!outcome.applied) {
      throw new NotAccepted(whyNotAccepted(outcome, job.left, this.#o.runtime.now(), hold), job.left)
    }
  }

  /** Only a database that went away leaves it unknown whether the row was written: if it was, it must not stay open. */
  #unaccepted(job: Job, error: unknown): void {
    this.#scheduler.withdraw(job.request.key.id, job.choices.length)
    job.move('failed')
    job.endedAt = this.#o.runtime.now()
    job.code = 'database_unavailable'
    job.onClose(job)
    const unknown = !(error instanceof PoolError) || error.code === 'database_unavailable'
    if (unknown && job.hasOrder) this.#writer.ended(job)
  }

  #refused(request: AcceptedRequest, error: PoolError): PoolError {
    this.#events.jobRefused?.({ code: error.code, keyId: request.key.id, kind: request.kind })
    return error
  }
}

/** Whether another worker can look at the answer: not where a grammar chose among its tokens. */
const isReadable = ({ kind, needs }: AcceptedRequest) =>
  kind !== 'embedding' && !needs.includes('tools') && !needs.includes('json_schema')

const lentBit = featureBits(['lent'])

/** What the lane of a request must have besides the model. */
function laneNeeds(request: AcceptedRequest): readonly LaneFeature[] {
  const { needs, order, privacy } = request
  const custodial = order ? [] : (['custodial'] as const)
  const here = mayLeave(request) ? [] : (['here'] as const)
  return privacy === 'paranoid' ? [...needs, ...custodial, ...here, 'inside'] : [...needs, ...custodial, ...here]
}

/** Whether another pool may compute it: a payer's own order names this one, and answers side by side are compared here. */
function mayLeave(request: AcceptedRequest): boolean {
  const { forwardable, order, privacy = 'standard', choices } = request
  const { level } = wishOf(request)
  const alone = level !== 'required' && level !== 'deterministic'
  return forwardable === true && !order && privacy === 'standard' && choices === 1 && alone
}

const modelKeyOf = ({ model, digest }: AcceptedRequest) => (digest ? `${model}@${digest}` : model)
