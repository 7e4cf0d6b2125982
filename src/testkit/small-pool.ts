import type { Identity } from '#crypto'
import {
  type AcceptedRequest,
  auditJobLeaves,
  auditJobTables,
  findReceipt,
  type JobDetails,
  type JobEvents,
  Jobs,
  type JobsOptions,
  type JobsSettings,
  jobStages,
  type ProveLeaves,
} from '#jobs'
import { Ledger, type LedgerOp, ledgerStage, transferLeaf } from '#ledger'
import { readLeaves, TransparencyLog } from '#log'
import { type PoolId, SignatureChecker } from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'
import { type Database, GroupCommit, part, type Sql, type Tx } from '#storage'
import { SmallClient, SmallWorkers, smallAccount, smallRequest } from './small-workers.ts'
import { temporaryFolder } from './temporary-folder.ts'
import { testPool } from './with-papers.ts'

export interface SmallPoolOptions {
  /** Another clock than the machine's. */
  readonly runtime?: Runtime
  readonly settings?: JobsSettings
  readonly alone?: boolean
  /** Of {@link smallAccount} when the database is new, micro-credits. */
  readonly credits?: bigint
  readonly payerSignature?: 'optional' | 'required'
  readonly kernelOf?: JobsOptions['kernelOf']
  readonly checks?: JobsOptions['checks']
  readonly comparison?: JobsOptions['comparison']
  readonly whyUnchecked?: JobsOptions['whyUnchecked']
  readonly whyAway?: JobsOptions['whyAway']
  /** Signs; {@link testPool} unless given. */
  readonly pool?: Identity
  /** Audits its jobs when it closes, unless a test writes what no pool would. */
  readonly audited?: boolean
  /** Real workers instead of small ones; whoever opens them tells `jobs` who comes and goes. */
  readonly workers?: () => JobsOptions['workers']
}

/** Everything between an accepted request and a worker, on a real database: jobs, scheduler, group commit. */
export class SmallPool implements AsyncDisposable {
  readonly workers = new SmallWorkers()
  /** Events by name, in order. */
  readonly events: { name: keyof JobEvents; event: Record<string, unknown> }[] = []
  readonly commit: GroupCommit
  readonly ledger: Ledger
  readonly log: TransparencyLog
  readonly #folder: Disposable
  readonly #database: Database
  readonly #audited: boolean
  readonly #runtime: Runtime
  /** Leaves of the log when it opened. */
  #from = 0
  #jobs: Jobs | undefined

  private constructor(database: Database, log: TransparencyLog, folder: Disposable, options: SmallPoolOptions) {
    this.#database = database
    this.#audited = options.audited ?? true
    this.log = log
    this.#folder = folder
    this.#runtime = options.runtime ?? systemRuntime
    this.ledger = new Ledger(database, this.#runtime)
    this.commit = new GroupCommit({ database, runtime: this.#runtime, stages: jobStages(log.stage) })
  }

  static async open(database: Database, options: SmallPoolOptions = {}): Promise<SmallPool> {
    const folder = temporaryFolder()
    const log = await TransparencyLog.open({
      database,
      runtime: options.runtime ?? systemRuntime,
      poolId: testPool.id as PoolId,
      signer: options.pool ?? testPool,
      dataDir: folder.path,
    })
    const pool = new SmallPool(database, log, folder, options)
    pool.#from = await leavesOf(database)
    await pool.#fund(options.credits ?? 1_000_000_000_000n)
    // every event is a function of one object; which one is asked for does not matter here
    const events = new Proxy({} as JobEvents, {
      get: (_target, name: keyof JobEvents) => (event: Record<string, unknown>) => pool.events.push({ name, event }),
    })
    pool.#jobs = await Jobs.start({
      runtime: pool.#runtime,
      sql: database.sql,
      commit: pool.commit,
      workers: options.workers?.() ?? pool.workers,
      secret: Buffer.alloc(32, 7),
      alone: options.alone ?? true,
      pool: options.pool ?? testPool,
      logStage: log.stage,
      pricesFor: (model) => pool.ledger.prices.for(model),
      payerSignature: options.payerSignature ?? 'optional',
      ...(options.kernelOf ? { kernelOf: options.kernelOf } : {}),
      ...(options.checks ? { checks: options.checks } : {}),
      ...(options.comparison ? { comparison: options.comparison } : {}),
      ...(options.whyAway ? { whyAway: options.whyAway } : {}),
      ...(options.whyUnchecked ? { whyUnchecked: options.whyUnchecked } : {}),
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
    await this.#closeBooks()
  }

  /** The receipt of a job that is settled, as the file clients get. */
  async receipt(client: SmallClient): Promise<Buffer> {
    const id = client.handle?.id ?? ''
    const { sql } = this.#database
    for (let i = 0; i < 500; i++) {
      const prove: ProveLeaves = (leaves, pool) => this.log.proveAll(leaves, pool)
      const found = await findReceipt({ sql, keys: this.log.keys, prove }, id)
      if (found?.state === 'ready') return found.file
      await systemRuntime.sleep(10)
    }
    throw new Error(`job ${id} has no receipt`)
  }

  async #fund(amount: bigint): Promise<void> {
    await this.ledger.ensureAccounts([
      { name: 'issuance' },
      { name: 'treasury' },
      { name: 'pool' },
      { name: 'refund_reserve' },
      { name: smallAccount },
    ])
    const id = systemRuntime.uuid()
    const grant: LedgerOp = {
      op: 'transfer',
      id,
      kind: 'bootstrap',
      from: 'issuance',
      to: smallAccount,
      amount,
      at: this.#runtime.now(),
      authorisation: Buffer.from('a test'),
    }
    await this.commit.submit([
      part(ledgerStage, grant),
      part(this.log.stage, { kind: 'transfer', ref: id, data: transferLeaf(grant) }),
    ])
  }

  /** What the audit says of its jobs after an edit by the superuser of the database, which is then undone; undefined: nothing. */
  async auditAfter(edit: string): Promise<string | undefined> {
    const connection = await this.#database.connect()
    let problem: string | undefined
    const work = async (tx: Tx) => {
      await tx.unsafe(`set local session_replication_role = replica; ${edit}`)
      problem = await this.#problemIn(tx)
      throw new Error('undo')
    }
    await connection.transaction(work).catch((error: Error) => {
      if (error.message !== 'undo') throw error
    })
    await connection.close()
    return problem
  }

  /** Whatever a test did to its pool, what is on record of its jobs must be right. @throws Error */
  async #audit(): Promise<void> {
    const problem = await this.#problemIn(this.#database.sql)
    if (problem !== undefined) throw new Error(problem)
  }

  async #problemIn(sql: Sql): Promise<string | undefined> {
    const facts = { keys: this.log.keys, checker: new SignatureChecker() }
    for await (const page of readLeaves(sql, this.#from)) {
      const problem = await auditJobLeaves(sql, page, facts)
      if (problem !== undefined) return problem
    }
    return auditJobTables(sql)
  }

  async #closeBooks(): Promise<void> {
    await this.commit.stop()
    await this.log[Symbol.asyncDispose]()
    this.#folder[Symbol.dispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#jobs?.close()
    if (this.#audited) await this.#audit()
    await this.#closeBooks()
  }
}

async function leavesOf({ sql }: Database): Promise<number> {
  const [head] = await sql<{ size: bigint }[]>`select size from log_head`
  return Number(head?.size ?? 0n)
}
