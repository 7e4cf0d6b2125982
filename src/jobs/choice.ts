import type { FinishReason, Refusal, SegmentHash, UsageClaim } from '#protocol'
import type { Lane, Ticket, Urgent } from '#scheduler'
import type { Attempt } from './attempt.ts'
import { type Fault, faultOf } from './count-usage.ts'
import { type ChoiceSink, HeldAnswer } from './held-answer.ts'
import type { Job } from './job.ts'
import { jobsLimits } from './limits.ts'
import type { Panel } from './panel.ts'
import { Relay } from './relay.ts'

/**
 * One choice of a job: one answer, of however many segments.
 *
 *   held ──▶ waiting ──▶ running ──▶ complete ──▶ finished
 *              ▲            │
 *              └────────────┘ retry, takeover
 *
 * `held` until the job's first choice has found a worker, whose model file the others then must have too.
 * `complete`: the text is (stop string, max_tokens); only the worker's own end, with its claim, is awaited.
 */
export class Choice {
  readonly job: Job
  readonly index: number
  relay: Relay
  /** Computes the choice beside others; absent where one answer is all. */
  readonly panel: Panel | undefined
  /** Where what it says goes. */
  out: ChoiceSink
  /** Of a panel: whose worker has it now, or had it to the end. */
  operator: string | undefined
  readonly attempts: Attempt[] = []
  /** Workers that failed it; never asked again. */
  readonly excluded: string[] = []
  /** Workers that were busy against our books; asked again after the next sweep. */
  busy: string[] = []
  /** Times a worker took its time to say that it is busy. */
  slowlyBusy = 0
  /** Admitted to the queue and not yet in it. */
  held = true
  /** Present while `waiting`. */
  waiting: Ticket<Lane, Choice> | Urgent<Choice> | undefined
  /** Monotonic; when it began to wait, and since when there is no worker that could ever take it. */
  waitingSince = 0
  aloneSince: number | undefined
  /** Monotonic; when the text was complete. */
  completeSince: number | undefined
  finish: FinishReason | undefined
  /** Deltas were relayed: nobody can continue from those. */
  hasDeltas = false
  /** Embeddings, by input; relayed only when all have come. */
  vectors: (Float32Array | undefined)[] = []
  vectorCount = 0
  /** All pieces relayed before the running segment, once there is one: what a takeover continues. */
  prefix: SegmentHash | undefined
  lastRefusal: Refusal | undefined
  /** What the fair queue charged for it. */
  charged = 0

  constructor(job: Job, index: number, panel?: Panel) {
    this.job = job
    this.index = index
    this.panel = panel
    this.out = panel ? new HeldAnswer() : job.sink
    this.relay = new Relay(job.request.stops, job.request.maxTokens)
  }

  get attempt(): Attempt | undefined {
    const last = this.attempts.at(-1)
    return last?.running ? last : undefined
  }

  /** Stop string found or max_tokens reached: nothing more is relayed. */
  get complete(): boolean {
    return this.completeSince !== undefined
  }

  /** Vectors it must have. */
  get inputs(): number {
    return this.job.request.inputs ?? 0
  }

  /** Model file of its last attempt. */
  get digest(): string | null | undefined {
    return this.attempts.at(-1)?.digest
  }

  /** Something of it was relayed: it can only be continued, not begun again. */
  get begun(): boolean {
    return this.relay.pieces > 0 || this.hasDeltas
  }

  /** Whether another worker with the same model file can continue it from its token ids. */
  get continuable(): boolean {
    return this.job.request.resumable && this.relay.hasIds && !this.hasDeltas && typeof this.digest === 'string'
  }

  /** What is wrong with a worker's claim, if anything. */
  faultOf(attempt: Attempt, claim: UsageClaim): Fault | undefined {
    return faultOf(claim, {
      pieces: this.hasDeltas || !this.relay.hasIds ? undefined : attempt.received,
      tokensLeft: this.job.request.maxTokens - (this.relay.pieces - attempt.pieces),
      promptTokensMax: this.job.bounds.promptTokensMax + jobsLimits.templateTokensMax,
    })
  }

  /** The number of its next attempt. */
  nextAttempt(): number {
    return this.panel ? this.panel.nextAttempt() : this.attempts.length
  }

  /** A panel's answer is one worker's from its first token to its last: what came of another's is forgotten. */
  restart(): void {
    this.relay = new Relay(this.job.request.stops, this.job.request.maxTokens)
    this.out = new HeldAnswer()
    this.operator = undefined
    this.hasDeltas = false
    this.completeSince = undefined
    this.prefix = undefined
  }

  /** What it showed, once it may. */
  show(): void {
    if (this.out instanceof HeldAnswer) this.out.show(this.job.sink)
  }

  /** Another worker goes on behind what this attempt sent. */
  continueBehind(attempt: Attempt): void {
    this.prefix ??= attempt.hash.clone()
  }

  /** Nothing was relayed: what came is forgotten, and another model file will do unless other choices are bound to it. */
  beginAfresh(): void {
    this.vectors = []
    this.vectorCount = 0
    if (this.job.choices.length === 1) this.job.digest = this.job.request.digest
  }
}
