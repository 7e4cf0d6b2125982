import {
  type Assignment,
  type FinishReason,
  type ModelOffer,
  type RefusalCode,
  SegmentHash,
  type Signed,
  type TokenBatch,
  type UsageClaim,
} from '#protocol'
import type { RunHandle, RunOutput } from '#workers'
import type { Fault } from './count-usage.ts'
import type { SegmentRow } from './job-stages.ts'

/** One attempt of one choice at one worker: the segment on record. Times are milliseconds since 1970. */
export class Attempt {
  /** Counts the segments of a choice. */
  readonly n: number
  readonly decode: Assignment['decode']
  readonly lease: string
  readonly workerId: string
  readonly digest: string | null
  /** What its worker offered. */
  readonly contextTokens: number
  readonly startedAt: number
  outcome: SegmentRow['outcome'] = 'running'
  endedAt: number | null = null
  /** Pieces relayed: tokens before the stop string and within the limit, and deltas. */
  pieces = 0
  claim: UsageClaim | undefined
  finish: FinishReason | undefined
  fault: Fault | undefined
  code: RefusalCode | undefined
  handle: RunHandle | undefined
  /** Everything the worker sent, relayed or not: what it must sign for. */
  readonly hash = new SegmentHash()
  /** The same tokens, as they came: what a verifier needs when it is checked. */
  readonly sent: TokenBatch[] = []
  /** Hash of its assignment, once that is signed. */
  assignment: Buffer | undefined
  /** Hash of what earlier segments sent, as the assignment says. */
  prefix: Buffer | null = null
  /** The worker's word for it, checked, and as it was sent. */
  statement: { readonly signed: Signed<'worker-statement/1'>; readonly wire: Buffer } | undefined
  /** Cancelled, and the worker has not yet had its last word. */
  awaited = false
  /** Tokens received, relayed or not. */
  received = 0
  /** Its first output came. */
  heard = false
  /** Changed since it was last written. */
  unsaved = true

  constructor(
    lease: string,
    { id, digest, contextTokens }: Pick<ModelOffer, 'digest' | 'contextTokens'> & { readonly id: string },
    startedAt: number,
    { n, decode }: Pick<Attempt, 'n' | 'decode'>,
  ) {
    this.n = n
    this.decode = decode
    this.lease = lease
    this.workerId = id
    this.digest = digest
    this.contextTokens = contextTokens
    this.startedAt = startedAt
  }

  /** The worker vouched for what it sent. */
  get signed(): boolean {
    return this.statement !== undefined
  }

  /** It gave something, or vouched for nothing. */
  get gave(): boolean {
    return this.pieces > 0 || this.signed
  }

  /** Counts what was received, late or not, and hashes it. */
  note(output: RunOutput): void {
    if ('tokens' in output) {
      this.received += output.tokens.length
      this.sent.push(output.tokens)
      this.hash.add(output.tokens)
    } else if ('delta' in output) this.hash.addDelta(output.delta)
    else this.hash.addVector(output.index, littleEndian(output.values))
  }

  get running(): boolean {
    return this.outcome === 'running'
  }

  /** Its job is settled: what was relayed and not vouched for is so for good. */
  giveUp(): void {
    this.awaited = false
    if (this.signed || this.pieces === 0 || this.fault !== undefined) return
    this.fault = 'unsigned'
    this.unsaved = true
  }

  close(outcome: Exclude<SegmentRow['outcome'], 'running'>, endedAt: number, code?: RefusalCode): void {
    this.outcome = outcome
    this.endedAt = endedAt
    this.code = code
    this.unsaved = true
  }

  row(jobId: string, choice: number): SegmentRow {
    return {
      jobId,
      choice,
      attempt: this.n,
      lease: this.lease,
      workerId: this.workerId,
      digest: this.digest,
      outcome: this.outcome,
      startedAt: this.startedAt,
      endedAt: this.endedAt,
      pieces: this.pieces,
      promptClaim: this.claim?.promptTokens ?? null,
      completionClaim: this.claim?.completionTokens ?? null,
      finish: this.finish ?? null,
      fault: this.fault ?? null,
      code: this.code ?? null,
      signed: this.signed,
    }
  }
}

/** As floats travel. */
function littleEndian(values: Float32Array): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length)
  values.forEach((value, n) => {
    bytes.writeFloatLE(value, 4 * n)
  })
  return bytes
}
