import { sha256 } from '#crypto'
import type { CheckOutcome } from '#reputation'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import { Calibrations } from './calibrations.ts'
import type { Epochs } from './epochs.ts'
import { lookThrough } from './look-at.ts'
import type { KeptAnswer } from './transcript.ts'
import type { VerifierIndex } from './verifier-index.ts'
import type { Verifiers } from './verifiers.ts'

interface ComparisonOptions {
  readonly database: Pick<Database, 'sql'>
  readonly runtime: Runtime
  readonly verifiers: Verifiers
  readonly index: VerifierIndex
  readonly epochs: Pick<Epochs, 'at'>
  readonly kernelOf: (workerId: string, digest: string) => string | undefined
}

/** An answer that one of several workers gave, and its statement without the signature. */
interface ComparedAnswer {
  readonly workerId: string
  readonly statement: Buffer
  readonly answer: KeptAnswer
}

/**
 * Compares answers of workers that computed the same thing on different arithmetic, before one is shown. The worker that looks is asked as any
 * verifier is, and cannot tell this from another check; what it says is judged by the margins learnt for the two kernel classes.
 */
export class Comparison {
  readonly #o: ComparisonOptions
  readonly #calibrations: Calibrations

  constructor(options: ComparisonOptions) {
    this.#o = options
    this.#calibrations = new Calibrations(options.database.sql, options.runtime)
  }

  /** Whether two workers compute to the same last bit, as far as that was measured. */
  isSameClass(one: string, other: string, digest: string | null): boolean {
    const kernel = digest === null ? undefined : this.#o.kernelOf(one, digest)
    return kernel !== undefined && digest !== null && kernel === this.#o.kernelOf(other, digest)
  }

  /** What a worker finds of another's answer; undefined where it cannot look, is late, or the two arithmetics are too far apart. */
  async look(
    { workerId, statement, answer }: ComparedAnswer,
    by: string,
    stop: AbortSignal,
  ): Promise<CheckOutcome | undefined> {
    const { runtime, epochs, index } = this.#o
    const operator = index.operatorOf(by)
    if (operator === undefined || stop.aborted) return undefined
    try {
      const thresholds = await this.#thresholds(workerId, by, answer.digest)
      if (!thresholds) return undefined
      const sample = { epochKey: epochs.at(runtime.now()).key, statementHash: sha256(statement) }
      const wish = {
        checkId: '',
        purpose: 'first',
        by: { worker: by, operator },
        answer,
        sample,
        ...thresholds,
      } as const
      return (await lookThrough(this.#o, wish, stop)).look.says
    } catch {
      return undefined // it went, refused or was late: nothing was said
    }
  }

  async #thresholds(worker: string, verifier: string, digest: string | null) {
    if (digest === null) return undefined
    const answered = this.#o.kernelOf(worker, digest)
    const looked = this.#o.kernelOf(verifier, digest)
    if (answered === undefined || looked === undefined) return {}
    const calibration = await this.#calibrations.of({ digest, answered, looked })
    return calibration.comparable ? { thresholds: calibration.thresholds } : undefined
  }
}
