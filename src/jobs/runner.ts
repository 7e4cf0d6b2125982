import { type FinishReason, PoolError, protocolLimits, type Refusal, type TokenBatch } from '#protocol'
import { SlotMap } from '#runtime'
import type { Comparison } from '#verification'
import type { RunEnd, RunSink } from '#workers'
import type { Attempt } from './attempt.ts'
import type { Choice } from './choice.ts'
import type { Job, JobRunner } from './job.ts'
import type { FinalState } from './job-states.ts'
import { judgeStatement } from './judge-statement.ts'
import { jobsLimits } from './limits.ts'
import { lookMutually } from './look-mutually.ts'
import type { Panel } from './panel.ts'
import { namesOf, Placement, type PlacementOptions } from './placement.ts'
import { broken, deadlineExceeded, disagreement, noThird, unsigned, workerLost, wrongVectors } from './refusals.ts'
import type { AttemptListener } from './run-relay.ts'
import { type Patience, whyGiveUp, whyNotAgain } from './why-give-up.ts'

export interface RunnerOptions extends PlacementOptions {
  readonly patience: Patience
  /** Has workers look at each other's answers; absent: only equal answers agree. */
  readonly comparison?: Pick<Comparison, 'isSameClass' | 'look'> | undefined
  /** Why nobody who could begin this job is to be waited for. */
  readonly whyAway?: ((job: Job) => Refusal | undefined) | undefined
}

/** Runs accepted jobs to their end: relays, counts, retries, takes over. One sweep looks after all waits. */
export class Runner implements JobRunner, AttemptListener {
  /** Jobs on disk and not over. */
  readonly jobs = new SlotMap<string, Job>()
  readonly #o: RunnerOptions
  readonly #placement: Placement
  readonly #onIdle: (() => void)[] = []
  /** Over, and some worker has yet to sign for what it sent; until when (monotonic) that is awaited. */
  readonly #unsettled = new SlotMap<string, { readonly job: Job; readonly until: number }>()

  constructor(options: RunnerOptions) {
    this.#o = options
    this.#placement = new Placement(options, this)
  }

  /** Jobs that are over and whose cost is not written down yet. */
  get unsettled(): number {
    return this.#unsettled.size
  }

  /** The job's row is on disk and its owner listens. */
  begin(job: Job): void {
    if (job.over) return
    const [first] = job.choices
    if (first) this.#placement.submit(first)
  }

  /** A worker came, or gained room. */
  refill(workerId: string): void {
    this.#placement.refill(workerId)
  }

  /** The client is gone. */
  cancel(job: Job): void {
    if (job.over) return
    this.#stop(job)
    this.#close(job, 'cancelled')
  }

  /** The job cannot go on; its client is told why. */
  fail(job: Job, refusal: Refusal, state: Exclude<FinalState, 'completed' | 'cancelled'> = 'failed'): void {
    if (job.over) return
    job.code = refusal.code
    this.#stop(job)
    this.#close(job, state, () => job.sink.failed(refusal))
  }

  /** Nobody waits for last words any longer. */
  settleAll(): void {
    for (const { job } of this.#unsettled.values()) this.#settle(job)
  }

  /** Nobody waits for {@link idle} any longer. */
  hurry(): void {
    for (const tell of this.#onIdle.splice(0)) tell()
  }

  /** Resolves when no job is left, or after `ms`. */
  async idle(ms: number): Promise<void> {
    if (this.jobs.size === 0) return
    await new Promise<void>((resolve) => {
      const timer = this.#o.runtime.after(ms, resolve, { keepAlive: true })
      this.#onIdle.push(() => {
        timer.cancel()
        resolve()
      })
    })
  }

  /** Everything that depends on time; called every {@link jobsLimits.sweepMs}. */
  sweep(): void {
    const now = this.#o.runtime.monotonic()
    for (const job of this.jobs.values()) {
      try {
        if (now >= job.deadlineMonotonic) this.#expire(job)
        else if (job.shownAt !== undefined && now >= job.shownAt) this.#show(job)
        else for (const choice of job.choices) if (!job.over) this.#sweepChoice(choice, now)
      } catch (error) {
        this.#broke(job, error)
      }
    }
    for (const { job, until } of this.#unsettled.values()) if (now >= until) this.#settle(job)
    this.#o.writer.flush()
    this.#o.scheduler.tidy()
    this.#o.estimate.tick(now)
  }

  // ── what an attempt says ─────────────────────────────────────────────────────────────────────────────────────────

  tokens(choice: Choice, attempt: Attempt, tokens: TokenBatch): void {
    attempt.note({ tokens })
    if (choice.complete) return
    const { relay, job } = choice
    const before = relay.pieces
    const shown = relay.take(tokens)
    const counted = relay.pieces - before
    attempt.pieces += counted
    if (!choice.panel && counted > 0) job.sink.pieces?.(choice.index, tokens.first(counted))
    choice.prefix?.add(tokens)
    this.#heardFrom(choice, attempt)
    if (relay.stopped || relay.full) choice.completeSince = this.#o.runtime.monotonic()
    if (shown) choice.out.text(choice.index, shown.text, shown.tokens)
    if (!job.request.stream || choice.panel) attempt.handle?.consumed(tokens.pieceBytes)
  }

  delta(choice: Choice, attempt: Attempt, delta: Record<string, unknown>): void {
    attempt.note({ delta })
    attempt.pieces++
    choice.hasDeltas = true
    this.#heardFrom(choice, attempt)
    choice.out.delta(choice.index, delta)
  }

  vector(choice: Choice, attempt: Attempt, index: number, values: Float32Array): void {
    attempt.note({ index, values })
    this.#heardFrom(choice, attempt)
    if (index < choice.inputs && !choice.vectors[index]) {
      choice.vectors[index] = values
      choice.vectorCount++
    } else {
      attempt.handle?.cancel()
      this.failed(choice, attempt, { retry: true, refusal: wrongVectors })
    }
  }

  end(choice: Choice, attempt: Attempt, end: RunEnd): void {
    if (choice.vectorCount < choice.inputs) {
      this.failed(choice, attempt, { retry: true, refusal: wrongVectors })
      return
    }
    attempt.close('ended', this.#o.runtime.now())
    attempt.finish = end.finish
    this.#hear(choice, attempt, end)
    this.#o.events.runEnded?.({ ...namesOf(choice, attempt), how: 'success' })
    this.#placement.freed(attempt.workerId, true)
    if (choice.panel && !attempt.signed) {
      this.#again(choice, attempt, unsigned, false)
      return
    }
    this.#finish(choice, choice.relay.stopped ? 'stop' : end.finish)
  }

  failed(choice: Choice, attempt: Attempt, failed: Parameters<RunSink['failed']>[0]): void {
    const { refusal, retry, blameless = false } = failed
    const quick = attempt.unsaved
    const busy = retry && refusal.code === 'overloaded' && (quick || ++choice.slowlyBusy <= jobsLimits.slowlyBusyMax)
    // A worker that was only busy computed nothing: no segment, unless its lease is on disk already.
    if (busy && quick) choice.attempts.pop()
    attempt.close('failed', this.#o.runtime.now(), refusal.code)
    const isFault = retry && !busy && !blameless
    if (isFault) this.#o.events.runEnded?.({ ...namesOf(choice, attempt), how: 'error' })
    this.#placement.freed(attempt.workerId, isFault ? false : retry ? undefined : true)
    if (choice.complete && !choice.panel) this.#finish(choice)
    else if (retry) this.#again(choice, attempt, refusal, busy)
    else this.fail(choice.job, refusal, refusal.code === 'deadline_exceeded' ? 'expired' : 'failed')
  }

  lost(choice: Choice, attempt: Attempt, reason: string): void {
    attempt.close('lost', this.#o.runtime.now(), 'worker_lost')
    this.#o.events.runEnded?.({ ...namesOf(choice, attempt), how: 'lost' })
    this.#placement.freed(attempt.workerId, false)
    if (choice.complete && !choice.panel) this.#finish(choice)
    else this.#again(choice, attempt, workerLost(reason), false)
  }

  acknowledged(choice: Choice, attempt: Attempt, end: RunEnd | undefined): void {
    attempt.awaited = false
    if (end) this.#hear(choice, attempt, end)
    if (this.#unsettled.has(choice.job.id) && !isAwaited(choice.job)) this.#settle(choice.job)
  }

  broke(choice: Choice, error: unknown): void {
    this.#broke(choice.job, error)
  }

  /** A worker's last word: its claim, and its signature under what it sent. */
  #hear(choice: Choice, attempt: Attempt, end: RunEnd): void {
    const claim = { promptTokens: end.promptTokens, completionTokens: end.completionTokens }
    attempt.claim = claim
    attempt.fault = choice.faultOf(attempt, claim)
    const verdict = judgeStatement(end, attempt, choice.job.request.model, this.#o.orders.checker)
    if (verdict.ok && end.statement) attempt.statement = { signed: verdict.signed, wire: end.statement }
    else if (attempt.received > 0 || attempt.pieces > 0) attempt.fault ??= 'unsigned'
    attempt.unsaved = true
    const { fault } = attempt
    const why = verdict.ok ? undefined : verdict.problem
    if (fault) this.#o.events.workerFault?.({ ...namesOf(choice, attempt), fault, claim, why })
  }

  // ── what follows ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** The attempt is over and the answer is not: elsewhere, or not at all. */
  #again(choice: Choice, attempt: Attempt, refusal: Refusal, busy: boolean): void {
    const { runtime, events } = this.#o
    choice.lastRefusal = refusal
    choice.aloneSince = undefined
    if (busy) choice.busy.push(attempt.workerId)
    else {
      choice.excluded.push(attempt.workerId)
      choice.waitingSince = runtime.monotonic()
    }
    if (choice.panel) choice.restart()
    const hopeless = whyNotAgain(choice, refusal)
    if (hopeless) {
      this.fail(choice.job, hopeless)
      return
    }
    const how = choice.begun ? 'takeover' : 'retry'
    if (choice.begun) choice.continueBehind(attempt)
    else choice.beginAfresh()
    if (!busy) {
      events.runMoved?.({ ...namesOf(choice, attempt), how, code: refusal.code, pieces: choice.relay.pieces })
    }
    this.#placement.resubmit(choice)
  }

  #heardFrom(choice: Choice, attempt: Attempt): void {
    const { job } = choice
    if (job.state === 'leased') {
      job.move('streaming')
      this.#o.writer.moved(job)
    }
    if (attempt.heard) return
    attempt.heard = true
    const now = this.#o.runtime.now()
    job.firstTokenAt ??= now
    const { model } = job.request
    this.#o.events.firstToken?.({ ...namesOf(choice, attempt), model, ms: now - attempt.startedAt })
  }

  /** Without a reason from the worker: its text is complete by what the pool knows. */
  #finish(choice: Choice, finish: FinishReason = choice.relay.stopped ? 'stop' : 'length'): void {
    const { job } = choice
    const rest = choice.relay.finish()
    choice.finish = finish
    if (rest) choice.out.text(choice.index, rest.text, rest.tokens)
    choice.out.choiceEnd(choice.index, finish)
    if (choice.panel) this.#compare(job, choice.panel)
    else if (job.choices.every((other) => other.finish)) this.#complete(job)
  }

  /** One more answer of a panel is whole. */
  #compare(job: Job, panel: Panel): void {
    if (job.over || panel.agreed) return
    this.#look(job, panel)
    const found = panel.decide()
    if (found.verdict === 'undecided') this.fail(job, disagreement)
    else if (found.verdict === 'ask') this.#askMore(job, panel, found.more)
    else if (found.verdict === 'agreed') {
      for (const choice of found.dissenting) this.#dissents(job, choice, found.agreeing)
      if (job.panels?.every(({ agreed }) => agreed)) job.shownAt = this.#endOfBucket(job)
    }
  }

  /** Where arithmetics differ and so do answers, each of two looks at the other's. */
  #look(job: Job, panel: Panel): void {
    const { comparison } = this.#o
    if (!comparison || job.kernel !== undefined) return
    for (const [one, other] of panel.unrelated()) {
      // A receipt tells of so many; what cannot be told is not done.
      const isTold = job.looksAsked + 2 <= protocolLimits.looksMax
      panel.relate(one, other, isTold ? 'open' : 'unknown')
      if (!isTold) continue
      job.looksAsked += 2
      lookMutually(comparison, one, other, panel.stop.signal)
        .then(({ relation, looks }) => {
          panel.relate(one, other, relation, job.over ? [] : looks)
          this.#compare(job, panel)
        })
        .catch((error: unknown) => this.#broke(job, error))
    }
  }

  #askMore(job: Job, panel: Panel, more: number): void {
    for (let n = 0; n < more; n++) {
      const member = job.askOneMore(panel)
      member.held = false
      member.waitingSince = this.#o.runtime.monotonic()
      if (!this.#placement.hasMore(member)) {
        this.fail(job, noThird)
        return
      }
      this.#placement.resubmit(member)
    }
  }

  #dissents(job: Job, choice: Choice, agreeing: readonly Choice[]): void {
    const attempt = choice.attempts.at(-1)
    if (!attempt) return
    const by = agreeing.flatMap((other) => other.attempts.at(-1)?.workerId ?? [])
    const { model } = job.request
    this.#o.events.dissented?.({ ...namesOf(choice, attempt), model, exact: job.kernel !== undefined, by })
  }

  /** Answers are shown at the end of fixed buckets of time, so that it cannot be seen when which worker was done. */
  #endOfBucket(job: Job): number {
    const { answerBucketMs } = jobsLimits
    const tookMs = this.#o.runtime.monotonic() - job.acceptedMonotonic
    return job.acceptedMonotonic + Math.ceil(tookMs / answerBucketMs) * answerBucketMs
  }

  #show(job: Job): void {
    job.shownAt = undefined
    for (const { winner } of job.panels ?? []) winner?.show()
    if (!job.over) this.#complete(job)
  }

  #complete(job: Job): void {
    for (const { vectors } of job.choices) {
      vectors.forEach((values, index) => {
        if (values) job.sink.vector(index, values)
      })
    }
    if (job.state === 'leased') job.move('streaming')
    this.#close(job, 'completed', () => job.sink.end(job.usage()))
  }

  /** No choice goes on. */
  #stop(job: Job): void {
    const stopped: Attempt[] = []
    for (const choice of job.choices) {
      this.#placement.withdraw(choice)
      if (!choice.attempt) continue
      stopped.push(choice.attempt)
      choice.attempt.close('cancelled', this.#o.runtime.now())
    }
    for (const attempt of stopped) {
      attempt.awaited = attempt.handle !== undefined
      attempt.handle?.cancel()
      this.#placement.freed(attempt.workerId, undefined)
    }
  }

  /** `lastWord` is what its owner is told, if anything. */
  #close(job: Job, state: FinalState, lastWord: () => void = () => {}): void {
    const { runtime, events, scheduler, estimate } = this.#o
    job.move(state)
    job.endedAt = runtime.now()
    for (const { stop } of job.panels ?? []) stop.abort(new Error('the job is over'))
    this.jobs.delete(job.id)
    try {
      lastWord()
      job.response = job.sink.responseHash()
    } catch (error) {
      events.jobBroke?.({ jobId: job.id, error })
    }
    if (isAwaited(job)) this.#unsettled.set(job.id, { job, until: runtime.monotonic() + jobsLimits.lastWordMs })
    else this.#settle(job)
    const usage = job.usage()
    const charged = job.choices.reduce((sum, choice) => sum + choice.charged, 0)
    if (charged > 0) scheduler.charge(job.request.key.id, estimate.spent(usage) - charged)
    estimate.ended(job.choices.length, usage, state === 'completed')
    events.jobEnded?.({ ...job.outcome(state, usage), ms: runtime.monotonic() - job.acceptedMonotonic })
    job.onClose(job)
    if (this.jobs.size === 0) this.hurry()
  }

  /** Nothing more will be heard: what it cost is written down. */
  #settle(job: Job): void {
    this.#unsettled.delete(job.id)
    for (const choice of job.choices) {
      for (const attempt of choice.attempts) attempt.giveUp()
    }
    this.#o.writer.ended(job)
  }

  // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #expire(job: Job): void {
    for (const choice of job.choices) {
      const { attempt } = choice
      if (attempt && !attempt.heard) this.#o.events.runEnded?.({ ...namesOf(choice, attempt), how: 'timeout' })
    }
    this.fail(job, deadlineExceeded, 'expired')
  }

  #sweepChoice(choice: Choice, now: number): void {
    if (choice.waiting) this.#sweepWaiting(choice, now)
    else if (choice.attempt && now - (choice.completeSince ?? now) >= jobsLimits.endGraceMs) {
      this.#cutOff(choice, choice.attempt)
    }
  }

  #sweepWaiting(choice: Choice, now: number): void {
    const { patience, scheduler, estimate } = this.#o
    const isHopeful = this.#placement.isHopeful(choice)
    choice.aloneSince = isHopeful ? undefined : (choice.aloneSince ?? now)
    const away = isHopeful || choice.begun ? undefined : this.#o.whyAway?.(choice.job)
    const hopeless = away ?? whyGiveUp(choice, patience, now, estimate.waitMs(scheduler.admitted))
    if (hopeless) this.fail(choice.job, hopeless)
    else if (choice.busy.length > 0) {
      this.#placement.withdraw(choice)
      choice.busy = []
      this.#placement.resubmit(choice)
    }
  }

  /** It has sent the whole answer and does not say so. */
  #cutOff(choice: Choice, attempt: Attempt): void {
    attempt.close('cancelled', this.#o.runtime.now())
    attempt.awaited = attempt.handle !== undefined
    attempt.handle?.cancel()
    this.#o.events.runEnded?.({ ...namesOf(choice, attempt), how: 'timeout' })
    this.#placement.freed(attempt.workerId, undefined)
    if (choice.panel) this.#again(choice, attempt, unsigned, false)
    else this.#finish(choice)
  }

  #broke(job: Job, error: unknown): void {
    this.#o.events.jobBroke?.({ jobId: job.id, error })
    this.fail(job, error instanceof PoolError ? error.refusal : broken)
  }
}

/** Whether some worker has yet to say what it did for it. */
const isAwaited = (job: Job) => job.choices.some((choice) => choice.attempts.some((attempt) => attempt.awaited))
