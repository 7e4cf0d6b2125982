import { type Identity, identityFromSeed } from '#crypto'
import { type Leaf, type LogProblem, TransparencyLog } from '#log'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { type Database, GroupCommit, type Operation, type Outcome, part } from '#storage'
import { temporaryFolder } from './temporary-folder.ts'
import type { TestDatabase } from './test-database.ts'

export const pool: Identity = identityFromSeed(Buffer.alloc(32, 1))
export const admin: Identity = identityFromSeed(Buffer.alloc(32, 2))

export const leaf = (n: number | string, text = `transfer ${n}`): Leaf => ({
  kind: 'transfer',
  ref: String(n),
  data: Buffer.from(text),
})

/** A pool process as far as the log is concerned: its log, its group commit, its data directory. */
export class LoggingProcess implements AsyncDisposable {
  readonly log: TransparencyLog
  readonly commit: GroupCommit
  readonly dataDir: string
  readonly problems: unknown[]
  readonly #folder: Disposable | undefined

  private constructor(
    log: TransparencyLog,
    commit: GroupCommit,
    dataDir: string,
    problems: unknown[],
    folder: Disposable | undefined,
  ) {
    this.log = log
    this.commit = commit
    this.dataDir = dataDir
    this.problems = problems
    this.#folder = folder
  }

  /** With a data directory of its own unless one is given. */
  static async start(
    db: TestDatabase,
    options: { dataDir?: string; database?: Pick<Database, 'connect'>; signer?: Identity } = {},
  ): Promise<LoggingProcess> {
    const folder = options.dataDir === undefined ? temporaryFolder() : undefined
    const dataDir = options.dataDir ?? folder?.path ?? ''
    const problems: unknown[] = []
    const signer = options.signer ?? pool
    const log = await TransparencyLog.open({
      database: db.database,
      runtime: systemRuntime,
      poolId: signer.id as PoolId,
      signer,
      dataDir,
      onProblem: (error) => problems.push(error),
    })
    const database = options.database ?? db.database
    const commit = new GroupCommit({ database, runtime: systemRuntime, stages: [log.stage] })
    return new LoggingProcess(log, commit, dataDir, problems, folder)
  }

  /** Each leaf an operation of its own, all in one flush unless there are very many. */
  add(...leaves: readonly Leaf[]): Promise<Outcome[]> {
    return Promise.all(leaves.map((one) => this.commit.submit(this.operation(one))))
  }

  operation(...leaves: readonly Leaf[]): Operation {
    return leaves.map((one) => part(this.log.stage, one))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.commit.stop()
    await this.log[Symbol.asyncDispose]()
    this.#folder?.[Symbol.dispose]()
  }
}

export const numbers = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i)

/** Everything an audit finds. */
export async function findings({ log }: Pick<LoggingProcess, 'log'>, from = 0): Promise<LogProblem[]> {
  const found: LogProblem[] = []
  for await (const problem of log.audit(from)) found.push(problem)
  return found
}
