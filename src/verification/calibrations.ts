import type { Runtime } from '#runtime'
import type { Sql, Tx } from '#storage'
import { type Calibration, calibrateTogether, type ScoredRun } from './calibrate.ts'
import { verificationLimits } from './limits.ts'

/** Whose answer, looked at by whom: kernel classes as the pool has measured them, with one model file. */
export interface ClassPair {
  readonly digest: string
  readonly answered: string
  readonly looked: string
}

/** A run to learn from: what one verifier found of an answer that others vouch for. */
export interface LearntRun extends ClassPair, ScoredRun {
  readonly vouchedBy: 'reference' | 'two_operators'
  readonly checkId: string
}

/**
 * By what thresholds one kernel class is judged by another: learnt from honest runs, {@link calibrateTogether}. Names of classes are shared by
 * all processes and kept; runs of classes that nobody carries any longer are deleted in time. A process sees what others have learnt within a minute.
 */
export class Calibrations {
  readonly #sql: Sql
  readonly #runtime: Runtime
  readonly #known = new Map<string, { readonly calibration: Calibration; readonly until: number }>()

  constructor(sql: Sql, runtime: Runtime) {
    this.#sql = sql
    this.#runtime = runtime
  }

  async of({ digest, answered, looked }: ClassPair): Promise<Calibration> {
    const name = `${digest} ${answered} ${looked}`
    const now = this.#runtime.monotonic()
    const known = this.#known.get(name)
    if (known && known.until > now) return known.calibration
    const runs = await this.#sql<ScoredRun[]>`
      select vouched_by as "vouchedBy", operator, mean, max from calibrations
       where digest = ${digest} and answered = ${answered} and looked = ${looked}
       order by at desc limit ${verificationLimits.calibrationRunsMax}`
    const calibration = calibrateTogether(runs)
    const { calibrationFreshMs, calibrationPairsMax } = verificationLimits
    if (this.#known.size >= calibrationPairsMax) this.#known.clear()
    this.#known.set(name, { calibration, until: now + calibrationFreshMs })
    return calibration
  }

  /** In the transaction in which the check ends: once for each. */
  async learn(tx: Tx, { checkId, digest, answered, looked, operator, vouchedBy, mean, max }: LearntRun): Promise<void> {
    await tx`
      insert into calibrations (check_id, digest, answered, looked, operator, vouched_by, mean, max, at)
      values (${checkId}, ${digest}, ${answered}, ${looked}, ${operator}, ${vouchedBy}, ${mean}, ${max},
              ${this.#runtime.now()}::timestamptz) on conflict do nothing`
  }

  /** Runs that are too old to be learnt from. */
  async forget(): Promise<void> {
    await this.#sql`
      delete from calibrations where at < ${this.#runtime.now() - verificationLimits.calibrationKeptMs}::timestamptz`
  }
}
