import type { BudgetLeft } from '#ledger'
import type { PrivacyMode, RefusalCode, UsageClaim, WorkerId } from '#protocol'
import type { Sampling } from '#verification'
import type { AcceptedRequest } from './accepted-request.ts'
import type { Assurance } from './assurance.ts'
import type { Attempt } from './attempt.ts'
import { Choice } from './choice.ts'
import type { Company } from './companies.ts'
import { type CountBounds, countBilled, countUsage, promptTokensMax } from './count-usage.ts'
import type { JobHandle, JobSink } from './job-sink.ts'
import type { JobRow, MoveRow, SegmentRow } from './job-stages.ts'
import { type FinalState, isFinal, type JobState, moved } from './job-states.ts'
import type { Ordered } from './orders.ts'
import { Panel } from './panel.ts'

/** What a job's owner can ask of whoever runs it. */
export interface JobRunner {
  cancel(job: Job): void
}

/** One accepted job in memory. */
export class Job implements JobHandle {
  readonly id: string
  readonly request: AcceptedRequest
  readonly sink: JobSink
  /** Every run of it; with {@link panels} several for each choice. */
  readonly choices: Choice[]
  /** Where every choice is computed by several workers. */
  readonly panels: readonly Panel[] | undefined
  /** The kernel class they share; undefined where they need not. */
  readonly kernel: string | undefined
  /** Of workers at each other's answers, in all {@link panels}. */
  looksAsked = 0
  /** All panels agree, and their answers are shown then (monotonic). */
  shownAt: number | undefined
  readonly bounds: CountBounds
  /** `featureBits` of what its worker must offer. */
  readonly features: number
  readonly prefix: readonly string[]
  readonly seed: string
  /** Wall clock, for the record; the deadline is also kept in monotonic time, which does not jump. */
  readonly acceptedAt: number
  readonly deadlineAt: number
  readonly acceptedMonotonic: number
  readonly deadlineMonotonic: number
  state: JobState = 'queued'
  /** The model file all its choices are computed with; undefined while open, null for an upstream. */
  digest: string | null | undefined
  firstTokenAt: number | null = null
  endedAt: number | null = null
  code: RefusalCode | null = null
  /** sha256 of the response as it was sent; null when there is none. */
  response: Buffer | null = null
  readonly assurance: Assurance
  /** Workers that were sent the prompt, in order; those included that only said they are busy. */
  readonly exposure = new Set<WorkerId>()
  /** What is left of the key's budget, as of its acceptance. */
  left: BudgetLeft | undefined
  /** By what its answers are sampled; undefined where none are checked. */
  sampling: Sampling | undefined
  #ordered: Ordered | undefined
  /** Called once when it is over. */
  readonly onClose: (job: Job) => void
  readonly #runner: JobRunner

  constructor(
    request: AcceptedRequest,
    sink: JobSink,
    more: {
      id: string
      features: number
      prefix: readonly string[]
      seed: string
      now: number
      monotonic: number
      deadlineMs: number
      assurance: Assurance
      company: Company | undefined
      onClose: (job: Job) => void
    },
    runner: JobRunner,
  ) {
    this.id = more.id
    this.request = request
    this.sink = sink
    this.features = more.features
    this.prefix = more.prefix
    this.seed = more.seed
    this.assurance = more.assurance
    this.acceptedAt = more.now
    this.deadlineAt = more.now + more.deadlineMs
    this.acceptedMonotonic = more.monotonic
    this.deadlineMonotonic = more.monotonic + more.deadlineMs
    this.digest = request.digest
    const prompts = request.prompts ?? 1
    this.bounds = { maxTokens: request.maxTokens, promptTokensMax: promptTokensMax(request), prompts }
    const { company } = more
    if (company) this.digest = company.digest
    this.kernel = company?.kernel
    this.panels = company && Array.from({ length: request.choices }, (_, index) => new Panel(index, company.size))
    this.choices = this.panels?.flatMap((panel) => this.#membersOf(panel)) ?? plain(this)
    this.onClose = more.onClose
    this.#runner = runner
  }

  get privacy(): PrivacyMode {
    return this.request.privacy ?? 'standard'
  }

  get over(): boolean {
    return isFinal(this.state)
  }

  move(to: JobState): void {
    this.state = moved(this.state, to)
  }

  cancel(): void {
    this.#runner.cancel(this)
  }

  consumed(choice: number, bytes: number): void {
    this.choices[choice]?.attempt?.handle?.consumed(bytes)
  }

  /** Its order; there is none before it was written. */
  get ordered(): Ordered {
    if (!this.#ordered) throw new Error(`job ${this.id} has no order`)
    return this.#ordered
  }

  set ordered(ordered: Ordered) {
    this.#ordered = ordered
  }

  /** Whether it got as far as an order. */
  get hasOrder(): boolean {
    return this.#ordered !== undefined
  }

  /** Opens the commitment to the request body that receipt and log carry. 32 bytes. */
  get salt(): Buffer {
    return this.ordered.salt
  }

  /** One more worker for a choice whose answers differ. */
  askOneMore(panel: Panel): Choice {
    const member = new Choice(this, panel.index, panel)
    panel.members.push(member)
    this.choices.push(member)
    return member
  }

  /** Answers that are billed: one, or one for each worker that must agree. Each has the attempts of every choice. */
  get copies(): readonly (readonly (readonly Attempt[])[])[] {
    const { panels } = this
    if (!panels) return [this.choices.map((choice) => choice.attempts)]
    const size = panels[0]?.size ?? 0
    return Array.from({ length: size }, (_, n) => panels.map(({ paid }) => paid[n]?.attempts.slice(-1) ?? []))
  }

  /** What is billed: what workers have vouched for. */
  billed(): UsageClaim {
    const sum = { promptTokens: 0, completionTokens: 0 }
    for (const copy of this.copies) {
      const { promptTokens, completionTokens } = countBilled(this.bounds, copy)
      sum.promptTokens += promptTokens
      sum.completionTokens += completionTokens
    }
    return sum
  }

  /** Counted usage of what was relayed so far. */
  usage(): UsageClaim {
    const shown = this.panels?.map(({ winner }) => winner?.attempts.slice(-1) ?? [])
    return countUsage(this.bounds, shown ?? this.choices.map((choice) => choice.attempts))
  }

  /** What is told of its end. */
  outcome(state: FinalState, usage: UsageClaim) {
    const { id, code, request } = this
    const { kind, model } = request
    const segments = this.choices.reduce((sum, choice) => sum + choice.attempts.length, 0)
    return { jobId: id, keyId: request.key.id, kind, model, state, code, ...usage, segments }
  }

  acceptedRow(instance: string): JobRow {
    const { request } = this
    return {
      id: this.id,
      instance,
      kind: request.kind,
      keyId: request.key.id,
      model: request.model,
      digest: request.digest ?? null,
      choices: request.choices,
      maxTokens: request.maxTokens,
      streamed: request.stream,
      acceptedAt: this.acceptedAt,
      deadlineAt: this.deadlineAt,
    }
  }

  row(): MoveRow {
    const usage = this.over ? this.usage() : undefined
    return {
      id: this.id,
      state: this.state,
      digest: this.digest ?? null,
      firstTokenAt: this.firstTokenAt,
      endedAt: this.endedAt,
      promptTokens: usage?.promptTokens ?? null,
      completionTokens: usage?.completionTokens ?? null,
      code: this.code,
    }
  }

  /** Segments that changed since they were last asked for. One whose worker has yet to have its last word is not at its end. */
  segmentRows(): SegmentRow[] {
    const rows: SegmentRow[] = []
    for (const choice of this.choices) {
      for (const attempt of choice.attempts) {
        if (!attempt.unsaved || attempt.awaited) continue
        attempt.unsaved = false
        rows.push(attempt.row(this.id, choice.index))
      }
    }
    return rows
  }

  #membersOf(panel: Panel): Choice[] {
    for (let n = 0; n < panel.size; n++) panel.members.push(new Choice(this, panel.index, panel))
    return panel.members.slice()
  }
}

const plain = (job: Job) => Array.from({ length: job.request.choices }, (_, index) => new Choice(job, index))
