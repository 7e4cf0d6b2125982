import { sha256 } from '#crypto'
import { encodeSamplingOpening, samplingCommitment, selects } from '#protocol'
import type { Runtime } from '#runtime'
import { type Part, part } from '#storage'
import { type CheckRow, checkStage, type TranscriptRow, transcriptStage } from './check-stages.ts'
import type { Epochs, OpenEpoch } from './epochs.ts'
import { verificationLimits } from './limits.ts'
import type { Rates, RateTable } from './rates.ts'
import { pick } from './sampling.ts'
import { seal } from './sealing.ts'
import type { Standings } from './standings.ts'
import { encodeAnswer, type KeptAnswer } from './transcript.ts'
import type { VerifierIndex } from './verifier-index.ts'

/** By what an answer will be sampled; fixed when its order is accepted, before anybody knows who will answer it. */
export interface Sampling {
  readonly epoch: OpenEpoch
  readonly rates: RateTable
  /** `u64 epoch ‖ commitment to its key ‖ root of the rates ‖ 32 random bytes`: kept with the order, told after the epoch. */
  readonly opening: Buffer
  /** What the leaf of the order commits to. */
  readonly commitment: Buffer
}

/** A segment that a worker gave, as the receipt has it. */
export interface GivenSegment {
  readonly choice: number
  readonly attempt: number
  readonly workerId: string
  readonly digest: string | null
  /** Bytes of the worker's statement without its signature; null: it signed none. */
  readonly statement: Buffer | null
  /** Why nobody can look at it, as a word; null: it can be looked at. */
  readonly unfit: string | null
  /** Others computed the same beside it and gave something else: it is looked at in any case. */
  readonly dissents?: boolean | undefined
  /** Asked for only when it is checked. */
  answer(): KeptAnswer
}

/** What is read of a request. */
export interface CheckedRequest {
  readonly kind: string
  readonly model: string
  readonly needs: readonly string[]
  readonly privacy?: string | undefined
}

/** A job that is over. */
export interface GivenAnswers {
  readonly jobId: string
  readonly model: string
  readonly sampling: Sampling
  /** Milliseconds since 1970. */
  readonly at: number
  /** Why nobody looks at them, as the receipt says; null: they were promised to be sampled. */
  readonly unchecked: string | null
  readonly segments: readonly GivenSegment[]
}

interface IntakeOptions {
  readonly runtime: Runtime
  readonly epochs: Epochs
  readonly rates: Rates
  readonly standings: Standings
  readonly verifiers: VerifierIndex
  readonly sealingKey: Buffer
  /** A check is owed: somebody may begin. */
  readonly onOwed: () => void
}

/** Decides which answers are checked, on the path of every request: a few hashes, no wait. */
export class CheckIntake {
  readonly #o: IntakeOptions

  constructor(options: IntakeOptions) {
    this.#o = options
  }

  /** For an order that is accepted now. @throws PoolError database_unavailable. */
  sample(at: number): Sampling {
    const epoch = this.#o.epochs.at(at)
    const rates = this.#o.rates.current
    const salt = this.#o.runtime.randomBytes(32)
    const opening = encodeSamplingOpening({ epoch: epoch.epoch, key: epoch.commitment, rates: rates.root, salt })
    return { epoch, rates, opening, commitment: samplingCommitment(opening) }
  }

  /** Why answers to such a request are not checked, as a word; `undefined`: they are. */
  whyUnchecked({ kind, model, needs, privacy }: CheckedRequest): string | undefined {
    if (kind === 'embedding') return 'not_checkable'
    if (privacy === 'paranoid') return 'privacy'
    if (needs.includes('tools') || needs.includes('json_schema')) return 'native_sampler'
    if (privacy === 'single-exposure') return this.#o.verifiers.hasOwn(model) ? undefined : 'single_exposure'
    return this.#o.verifiers.isChecked(model) ? undefined : 'no_verifier'
  }

  /** Whether prefixes of what an upstream gave can be looked at. */
  looksAtUpstream(workerId: string, model: string): boolean {
    return this.#o.verifiers.hasOthers(workerId, model, null)
  }

  /** Whether the pool's own engine can look at what a worker gave: there is one, and it is another. */
  hasOwnFor(workerId: string, model: string, digest: string | null): boolean {
    return this.#o.verifiers.reference(model, digest, workerId) !== undefined
  }

  /** What is written with the settlement: checks that are owed, and the answers they need. */
  settle(job: GivenAnswers): Part[] {
    const parts: Part[] = []
    for (const segment of job.segments) {
      const row = this.#checkOf(job, segment)
      if (!row) continue
      parts.push(part(checkStage, row))
      if (row.waived === null) parts.push(part(transcriptStage, this.#keep(job, segment)))
    }
    if (parts.length > 0) queueMicrotask(this.#o.onOwed)
    return parts
  }

  #checkOf(job: GivenAnswers, segment: GivenSegment): CheckRow | undefined {
    const { epoch, rates } = job.sampling
    const { workerId } = segment
    const statement = segment.statement === null ? null : sha256(segment.statement)
    const qPpm = rates.of(workerId, job.model)
    const waived = this.#whyWaived(job, segment)
    const row = (reason: CheckRow['reason']): CheckRow => ({
      id: this.#o.runtime.uuid(),
      jobId: job.jobId,
      choice: segment.choice,
      attempt: segment.attempt,
      workerId,
      model: job.model,
      digest: segment.digest,
      statement,
      epoch: epoch.epoch,
      qPpm,
      reason,
      waived,
      at: job.at,
    })
    if (statement === null) return row('unsigned')
    const sample = { epochKey: epoch.key, statementHash: statement }
    if (selects({ ...sample, qPpm })) return row('sampled')
    if (segment.dissents) return row('doubt')
    const { phase } = this.#o.standings.of(workerId, job.model)
    if (phase === 'paused' || phase === 'frozen') return row('doubt')
    const { referencePpm } = verificationLimits
    const again = waived === null && pick({ ...sample, label: 'verifier', n: 1_000_000 }) < referencePpm
    return again && this.#o.verifiers.reference(job.model, segment.digest, workerId) ? row('reference') : undefined
  }

  /** Where only one operator is here no look is promised; what another pool, or a worker that cannot look itself, has computed gets one all the same. */
  #whyWaived({ unchecked, model }: GivenAnswers, { workerId, digest, unfit }: GivenSegment): string | null {
    const promised = unchecked !== 'no_verifier' || !this.#o.verifiers.hasOthers(workerId, model, digest)
    return promised ? (unchecked ?? unfit) : unfit
  }

  #keep({ jobId, at }: GivenAnswers, segment: GivenSegment): TranscriptRow {
    const { runtime, sealingKey } = this.#o
    const { choice, attempt } = segment
    const key = runtime.randomBytes(32)
    const label = transcriptLabel(jobId, choice, attempt)
    const wrap = seal(sealingKey, label, key, runtime)
    const body = seal(key, label, encodeAnswer(segment.answer()), runtime)
    return { jobId, choice, attempt, wrap, body, at }
  }
}

/** Binds a sealed transcript to its place. */
export const transcriptLabel = (jobId: string, choice: number, attempt: number) =>
  `lichen/transcript/1 ${jobId} ${choice} ${attempt}`
