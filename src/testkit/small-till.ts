import type { ApiDeps } from '#api'
import { Ledger, type LedgerOp, ledgerStage, transferLeaf } from '#ledger'
import { TransparencyLog } from '#log'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { type Database, GroupCommit, type Outcome, part } from '#storage'
import { temporaryFolder } from './temporary-folder.ts'
import { testPool } from './with-papers.ts'

/** Ledger and log of {@link testPool} on a real database, as the API is handed them. */
export class SmallTill implements AsyncDisposable {
  readonly poolId = testPool.id as PoolId
  readonly ledger: Ledger
  readonly money: ApiDeps['money']
  readonly log: TransparencyLog
  readonly #commit: GroupCommit
  readonly #folder: Disposable

  private constructor(database: Database, log: TransparencyLog, folder: Disposable) {
    this.log = log
    this.#folder = folder
    this.ledger = new Ledger(database, systemRuntime)
    this.#commit = new GroupCommit({ database, runtime: systemRuntime, stages: [ledgerStage, log.stage] })
    this.money = { ledger: this.ledger, poolKey: testPool.publicKey, apply: (op) => this.apply(op) }
  }

  static async open(database: Database): Promise<SmallTill> {
    const folder = temporaryFolder()
    const { id, publicKey } = testPool
    const log = await TransparencyLog.open({
      database,
      runtime: systemRuntime,
      poolId: id as PoolId,
      signer: testPool,
      dataDir: folder.path,
    })
    const till = new SmallTill(database, log, folder)
    await till.ledger.ensureAccounts(['issuance', 'pool', 'treasury'].map((name) => ({ name, key: publicKey })))
    return till
  }

  apply(op: LedgerOp): Promise<Outcome> {
    return this.#commit.submit([
      part(ledgerStage, op),
      part(this.log.stage, { kind: 'transfer', ref: op.id, data: transferLeaf(op) }),
    ])
  }

  /** Reserves something for ten minutes; its id. */
  async hold(account: string, amount: bigint): Promise<string> {
    const [id, at] = [systemRuntime.uuid(), systemRuntime.now()]
    const outcome = await this.apply({ op: 'hold', id, account, amount, at, expiresAt: at + 600_000, budget: null })
    if (!outcome.applied) throw new Error(`refused: ${outcome.code}`)
    return id
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#commit.stop()
    await this.log[Symbol.asyncDispose]()
    this.#folder[Symbol.dispose]()
  }
}
