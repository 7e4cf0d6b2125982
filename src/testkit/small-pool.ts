import {
  type AcceptedRequest,
  type JobDetails,
  type JobEvents,
  Jobs,
  type JobsOptions,
  type JobsSettings,
  jobStages,
} from '#jobs'
import { systemRuntime } from '#runtime'
import { type Database, GroupCommit } from '#storage'
import { SmallClient, SmallWorkers, smallRequest } from './small-workers.ts'

export interface SmallPoolOptions {
  readonly settings?: JobsSettings
  readonly alone?: boolean
  /** Real workers instead of small ones; whoever opens them tells `jobs` who comes and goes. */
  readonly workers?: () => JobsOptions['workers']
}

/** Everything between an accepted request and a worker, on a real database: jobs, scheduler, group commit. */
export class SmallPool implements AsyncDisposable {
  readonly workers = new SmallWorkers()
  /** Events by name, in order. */
  readonly events: { name: keyof JobEvents; event: Record<string, unknown> }[] = []
  readonly commit: GroupCommit
  #jobs: Jobs | undefined

  private constructor(database: Database) {
    this.commit = new GroupCommit({ database, runtime: systemRuntime, stages: jobStages })
  }

  static async open(database: Database, options: SmallPoolOptions = {}): Promise<SmallPool> {
    const pool = new SmallPool(database)
    // every event is a function of one object; which one is asked for does not matter here
    const events = new Proxy({} as JobEvents, {
      get: (_target, name: keyof JobEvents) => (event: Record<string, unknown>) => pool.events.push({ name, event }),
    })
    pool.#jobs = await Jobs.start({
      runtime: systemRuntime,
      sql: database.sql,
      commit: pool.commit,
      workers: options.workers?.() ?? pool.workers,
      secret: Buffer.alloc(32, 7),
      alone: options.alone ?? true,
      events,
      settings: { noWorkerGraceMs: 300, takeoverGraceMs: 300, ...options.settings },
    })
    pool.workers.jobs = pool.#jobs
    return pool
  }

  get jobs(): Jobs {
    if (!this.#jobs) throw new Error('the pool is not open')
    return this.#jobs
  }

  /** Accepts a request for a new client. */
  async ask(request: Partial<AcceptedRequest> = {}, client = new SmallClient()): Promise<SmallClient> {
    client.handle = await this.jobs.accept(smallRequest(request), client)
    return client
  }

  /** The job on record once it is over. */
  async record(client: SmallClient): Promise<JobDetails> {
    const id = client.handle?.id ?? ''
    for (let i = 0; i < 500; i++) {
      const job = await this.jobs.show(id)
      if (job?.endedAt) return job
      await systemRuntime.sleep(10)
    }
    throw new Error(`job ${id} has no end on record`)
  }

  eventsNamed(name: keyof JobEvents): Record<string, unknown>[] {
    return this.events.filter((one) => one.name === name).map((one) => one.event)
  }

  /** Dies without a word: nothing is settled, nothing unregistered. */
  async crash(): Promise<void> {
    this.workers.jobs = undefined
    await this.commit.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#jobs?.close()
    await this.commit.stop()
  }
}
