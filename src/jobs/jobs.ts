import { PoolError, type Refusal, type WorkerId } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { featureBits, prefixKeys, Scheduler } from '#scheduler'
import { type GroupCommit, type Part, part, type Sql } from '#storage'
import type { Workers } from '#workers'
import type { AcceptedRequest } from './accepted-request.ts'
import type { Choice } from './choice.ts'
import type { JobEvents } from './events.ts'
import { type JobDetails, type JobSummary, listJobs, showJob } from './find-jobs.ts'
import { Idempotency, type IdempotentAnswer, type IdempotentRequest, inProgress } from './idempotency.ts'
import { Job } from './job.ts'
import type { JobHandle, JobSink } from './job-sink.ts'
import { idempotencyStage, jobInsertStage } from './job-stages.ts'
import type { JobState } from './job-states.ts'
import { KnownModels } from './known-models.ts'
import { jobsLimits } from './limits.ts'
import { OutcomeWriter } from './outcome-writer.ts'
import { PoolInstance } from './pool-instance.ts'
import { bodiesFull, featureMissing, modelNotFound, queueFull, shuttingDown } from './refusals.ts'
import { Roster, type RosterWorker } from './roster.ts'
import { Runner } from './runner.ts'
import { samplerSeed } from './sampler-seed.ts'
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
}

export interface JobsOptions {
  readonly runtime: Runtime
  readonly sql: Sql
  /** With `jobStages` among its stages, in their order. */
  readonly commit: Pick<GroupCommit, 'submit'>
  readonly workers: Pick<Workers, 'dispatch'>
  /** Keys the hashes of idempotency keys and bodies; ≥ 32 bytes that stay the same between starts. */
  readonly secret: Buffer
  /** No other pool process uses this database: jobs of earlier ones are interrupted at once. */
  readonly alone: boolean
  readonly events?: JobEvents
  readonly settings?: JobsSettings
}

/** Every job of this pool process. */
export class Jobs implements AsyncDisposable {
  readonly #o: JobsOptions
  readonly #deadlineMs: number
  readonly #bodyBytesMax: number
  readonly #events: JobEvents
  readonly #scheduler: Scheduler<Choice>
  readonly #roster: Roster
  readonly #estimate = new WorkEstimate()
  readonly #writer: OutcomeWriter
  readonly #runner: Runner
  readonly #models: KnownModels
  readonly #instance: PoolInstance
  readonly #idempotency: Idempotency
  #sweeper: Timer | undefined
  readonly #writing = new Set<Promise<void>>()
  #bodyBytes = 0
  #closed: Promise<void> | undefined
  #inHurry = false

  private constructor(options: JobsOptions) {
    const { runtime, sql, commit, workers, events = {}, settings = {} } = options
    this.#o = options
    this.#deadlineMs = settings.deadlineMs ?? jobsLimits.deadlineMs
    this.#bodyBytesMax = settings.bodyBytesMax ?? jobsLimits.bodyBytesMax
    this.#events = events
    const scheduler = new Scheduler<Choice>({
      totalMax: settings.queuedRunsMax,
      perKeyMax: settings.queuedRunsPerKeyMax,
    })
    this.#scheduler = scheduler
    this.#roster = new Roster(scheduler.workers)
    this.#writer = new OutcomeWriter(commit, events)
    this.#models = new KnownModels(sql, runtime)
    this.#instance = new PoolInstance(sql, runtime, events)
    this.#idempotency = new Idempotency(sql, runtime, options.secret)
    this.#runner = new Runner({
      runtime,
      workers,
      scheduler,
      roster: this.#roster,
      writer: this.#writer,
      events,
      estimate: this.#estimate,
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
    jobs.#sweeper = options.runtime.every(jobsLimits.sweepMs, () => {
      jobs.#runner.sweep()
      jobs.#idempotency.sweep()
    })
    return jobs
  }

  /** For gauges. */
  get load(): { open: number; queued: number; unsettled: number; workers: number; bodyBytes: number } {
    const { size: workers } = this.#roster
    const { size: open } = this.#runner.jobs
    const { admitted: queued } = this.#scheduler
    return { open, queued, unsettled: this.#writer.unsettled, workers, bodyBytes: this.#bodyBytes }
  }

  /** For the workers' room: a worker may be given work, changed, or is gone. */
  workerAvailable(worker: RosterWorker): void {
    this.#roster.put(worker)
    this.#models.offered(worker.offers)
    this.#runner.refill(worker.id)
  }

  workerGone(id: WorkerId): void {
    this.#roster.remove(id)
  }

  /**
   * Takes a request on: it is on disk when this resolves, and its answer goes to `sink`, which hears nothing before the
   * caller has the handle.
   * @throws PoolError model_not_found, unsupported_parameter, queue_full, overloaded, shutting_down,
   *         idempotency_in_progress, database_unavailable.
   */
  async accept(request: AcceptedRequest, sink: JobSink): Promise<JobHandle> {
    const features = featureBits(request.needs)
    const unserved = this.#isServed(request, features) ? undefined : await this.#whyNotServed(request)
    const refusal = this.#closed ? shuttingDown : (unserved ?? this.#admit(request))
    if (refusal) throw this.#refuse(request, refusal)
    const job = this.#newJob(request, sink, features)
    const writing = this.#write(job)
    this.#writing.add(writing)
    try {
      await writing
    } catch (error) {
      this.#unaccepted(job, error)
      throw error instanceof PoolError ? this.#refuse(request, error.refusal) : error
    } finally {
      this.#writing.delete(writing)
    }
    this.#runner.jobs.add(job)
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
    for (const job of this.#runner.jobs) this.#runner.fail(job, shuttingDown, 'interrupted')
    this.#sweeper?.cancel()
    await this.#writer.drain()
    await this.#models.settled()
    await this.#instance.stop()
  }

  /** Whether a connected worker can do it. */
  #isServed(request: AcceptedRequest, features: number): boolean {
    const { workers } = this.#scheduler
    const key = request.digest ? `${request.model}@${request.digest}` : request.model
    return workers.offers(key) && workers.lane(key, features).size > 0
  }

  /** Why it is not worth waiting for a worker that can, or `undefined`: the model was served lately. */
  async #whyNotServed(request: AcceptedRequest): Promise<Refusal | undefined> {
    const known = await this.#models.featuresOf(request.model)
    if (!known) return modelNotFound(request.model)
    const missing = request.needs.filter((feature) => !known.has(feature))
    return missing.length > 0 ? featureMissing(request.model, missing) : undefined
  }

  #admit(request: AcceptedRequest): Refusal | undefined {
    const retryAfterMs = this.#estimate.waitMs(this.#scheduler.admitted)
    if (this.#bodyBytes + request.body.length > this.#bodyBytesMax) return bodiesFull(retryAfterMs)
    const full = this.#scheduler.admit(request.key.id, request.key.weight, request.choices)
    if (full) return queueFull(full === 'key_full' ? 'key' : 'pool', retryAfterMs)
    this.#bodyBytes += request.body.length
    return undefined
  }

  #newJob(request: AcceptedRequest, sink: JobSink, features: number): Job {
    const { runtime } = this.#o
    const seed = request.seed === undefined ? runtime.randomBytes(32) : samplerSeed(request.seed)
    const more = {
      id: runtime.uuid(),
      features,
      prefix: prefixKeys(request.key.id, request.prefix ?? []),
      seed: seed.toString('hex'),
      now: runtime.now(),
      monotonic: runtime.monotonic(),
      deadlineMs: Math.min(request.deadlineMs ?? this.#deadlineMs, this.#deadlineMs),
    }
    const job = new Job(request, sink, more, this.#runner)
    job.onClose = () => {
      this.#bodyBytes -= request.body.length
    }
    return job
  }

  async #write(job: Job): Promise<void> {
    const operation: Part[] = [part(jobInsertStage, job.acceptedRow(this.#instance.id))]
    const { key, idempotency: claim } = job.request
    if (claim) {
      const { keyMac, bodyMac } = claim
      operation.push(
        part(idempotencyStage, { keyId: key.id, keyMac, bodyMac, jobId: job.id, createdAt: job.acceptedAt }),
      )
    }
    const outcome = await this.#o.commit.submit(operation)
    if (!outcome.applied) throw PoolError.from(inProgress)
  }

  /** Only a database that went away leaves it unknown whether the row was written: if it was, it must not stay open. */
  #unaccepted(job: Job, error: unknown): void {
    this.#scheduler.withdraw(job.request.key.id, job.choices.length)
    job.move('failed')
    job.endedAt = this.#o.runtime.now()
    job.code = 'database_unavailable'
    job.onClose()
    if (!(error instanceof PoolError) || error.code === 'database_unavailable') this.#writer.ended(job)
  }

  #refuse(request: AcceptedRequest, refusal: Refusal): PoolError {
    this.#events.jobRefused?.({ code: refusal.code, keyId: request.key.id, kind: request.kind })
    return PoolError.from(refusal)
  }
}
