import { sha256 } from '#crypto'
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

/** What a worker that was asked found of another's answer. */
export interface MutualLook {
  readonly verifier: string
  readonly operator: string
  /** `waived`: it said nothing, or nobody could make sense of what it says. */
  readonly says: 'clean' | 'hit' | 'waived'
  /** The first part of the rule that makes it a hit, or why nothing was said. */
  readonly why: string | null
  /** Mean score of the positions, logits. */
  readonly score: number | null
  /** Signed commitment/1 in wire form, and the hash of the evidence that opened it. */
  readonly commitment: Buffer | null
  readonly evidence: Buffer | null
  /** Milliseconds since 1970. */
  readonly at: number
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

  /** What a worker finds of another's answer; undefined where nobody waits for it any longer. */
  async look(
    { workerId, statement, answer }: ComparedAnswer,
    by: string,
    stop: AbortSignal,
  ): Promise<MutualLook | undefined> {
    const { runtime, epochs, index } = this.#o
    const operator = index.operatorOf(by) ?? ''
    const waived = (why: string): MutualLook => {
      return {
        verifier: by,
        operator,
        says: 'waived',
        why,
        score: null,
        commitment: null,
        evidence: null,
        at: runtime.now(),
      }
    }
    if (stop.aborted) return undefined
    if (operator === '') return waived('no_verifier')
    try {
      const thresholds = await this.#thresholds(workerId, by, answer.digest)
      if (!thresholds) return waived('not_comparable')
      const sample = { epochKey: epochs.at(runtime.now()).key, statementHash: sha256(statement) }
      const wish = {
        checkId: '',
        purpose: 'first',
        by: { worker: by, operator },
        answer,
        sample,
        ...thresholds,
      } as const
      const { look, wire, bytes } = await lookThrough(this.#o, wish, stop)
      const { says, why, score } = look
      return { verifier: by, operator, says, why, score, commitment: wire, evidence: sha256(bytes), at: runtime.now() }
    } catch {
      return stop.aborted ? undefined : waived('verifier_failed') // it went, refused or was late
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
