import { type Identity, sha256 } from '#crypto'
import type { Leaf } from '#log'
import { type CheckVerdict, encodeMessage, encodeSigned, signBatch } from '#protocol'
import type { CheckOutcome } from '#reputation'
import type { Runtime, Timer } from '#runtime'
import { type Database, type GroupCommit, part, type Sql, type Stage, type Tx } from '#storage'
import type { Acts } from './acts.ts'
import { Calibrations, type ClassPair } from './calibrations.ts'
import { checkColumns, type OwedCheck } from './check-columns.ts'
import { type Candidate, chooseVerifiers } from './choose-verifiers.ts'
import { DueActs } from './due-acts.ts'
import type { Epochs } from './epochs.ts'
import { transcriptLabel } from './intake.ts'
import type { Look } from './judge-look.ts'
import { judgeKnown, KnownPace, knownBadOf } from './known-later.ts'
import { verificationLimits } from './limits.ts'
import { type LookPurpose, type LookWish, lookAt } from './look-at.ts'
import { pick, type Sample, transcriptOf } from './sampling.ts'
import { unseal } from './sealing.ts'
import { secondOpinion } from './second-opinion.ts'
import type { Standings } from './standings.ts'
import { decodeAnswer, type KeptAnswer } from './transcript.ts'
import { Tribunals } from './tribunals.ts'
import type { VerifierIndex } from './verifier-index.ts'
import type { Verifiers } from './verifiers.ts'

/** What happened to a check; for logs and counters. */
export interface CheckEvents {
  checkEnded?(check: { checkId: string; workerId: string; model: string; outcome: string; why: string | null }): void
  standingMoved?(worker: { workerId: string; model: string; duty: string; before: string; after: string }): void
  problem?(error: unknown, what: string): void
}

export interface CheckerOptions {
  readonly database: Database
  readonly commit: Pick<GroupCommit, 'submit'>
  readonly runtime: Runtime
  readonly standings: Standings
  readonly index: VerifierIndex
  readonly epochs: Epochs
  readonly verifiers: Verifiers
  readonly acts: Acts
  readonly sealingKey: Buffer
  /** The pool: signs verdicts. */
  readonly pool: Identity
  readonly logStage: Stage<Leaf>
  /** The operator of a worker that is not here, by identity's record. */
  readonly operatorOf: (workerId: string) => Promise<string | undefined>
  /** The kernel class of a connected worker with a model file, as the pool has measured it. */
  readonly kernelOf: (workerId: string, digest: string) => string | undefined
  readonly events: CheckEvents
}

/** How a check ended. */
interface Ending {
  readonly outcome: CheckOutcome | 'waived'
  readonly waived?: string
  readonly first?: Candidate
  readonly look?: Look
  /** Every verifier that looked, and whether it was overruled. */
  readonly votes: readonly { readonly verifier: string; readonly overruled: boolean }[]
  readonly by: readonly string[]
  /** A replay on the same arithmetic differs, too. */
  readonly proof?: boolean
  /** After a second opinion: whose it was. */
  readonly from?: 'pool' | 'verifiers'
}

/** For whom a known answer is meant, and by which check it was drawn. */
interface KnownWish {
  readonly check: OwedCheck
  readonly sample: Sample
  readonly verifier: Candidate
}

/** Not now: nobody is there who could. */
class Later extends Error {
  readonly waived: string
  constructor(waived: string) {
    super(waived)
    this.waived = waived
  }
}

/**
 * Makes the checks that are owed, a few at a time, whichever process of the pool owes them:
 *
 *     owed ──▶ assigned ──▶ committed ──▶ revealed ──▶ clean · hit · waived
 *
 * A check whose process died is taken over when its lease runs out; one that nobody can make is waived when its time is
 * over. A hit stands only after a second opinion. Nothing here is waited for by a request.
 */
export class Checker implements AsyncDisposable {
  readonly #o: CheckerOptions
  readonly #sql: Sql
  readonly #instance: string
  readonly #running = new Set<Promise<void>>()
  readonly #sending = new Set<Promise<void>>()
  readonly #pace: KnownPace
  #knownWaiting = 0
  readonly #stop = new AbortController()
  readonly #acts: DueActs
  readonly #calibrations: Calibrations
  readonly #tribunals: Tribunals
  #timer: Timer | undefined
  #looking: Promise<void> | undefined
  #again = false
  #sweptAt = Number.NEGATIVE_INFINITY

  constructor(options: CheckerOptions) {
    this.#o = options
    this.#sql = options.database.sql
    this.#instance = options.runtime.uuid()
    this.#calibrations = new Calibrations(options.database.sql, options.runtime)
    this.#pace = new KnownPace(() => options.runtime.randomBytes(4).readUInt32BE(0) / 2 ** 32)
    const tools = { ...options, look: this.#look, transcript: (check: OwedCheck) => this.#transcript(check) }
    this.#tribunals = new Tribunals({
      ...tools,
      operator: (id) => this.#operator(id),
      sampleOf: (check) => this.#sampleOf(check),
    })
    this.#acts = new DueActs({ ...options, tribunals: this.#tribunals })
  }

  start(): void {
    this.#timer = this.#o.runtime.every(verificationLimits.checkLookMs, () => this.wake())
  }

  /** Something may be owed. */
  wake = (): void => {
    if (this.#stop.signal.aborted) return
    this.#again = true
    this.#looking ??= this.#lookAround().finally(() => {
      this.#looking = undefined
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer?.cancel()
    this.#stop.abort(new Error('the pool is stopping'))
    await this.#looking
    await Promise.all([...this.#running, ...this.#sending])
  }

  async #lookAround(): Promise<void> {
    try {
      while (this.#again && !this.#stop.signal.aborted) {
        this.#again = false
        if (await this.#acts.carryOut()) this.#again = true
        await this.#tribunals.hold(this.#stop.signal)
        await this.#begin()
        await this.#sweep()
      }
    } catch (error) {
      this.#o.events.problem?.(error, 'checks')
    }
  }

  async #begin(): Promise<void> {
    const room = verificationLimits.checksAtOnceMax - this.#running.size
    if (room <= 0) return
    const now = this.#o.runtime.now()
    const rows = await this.#sql<OwedCheck[]>`
      update checks set state = 'assigned', instance = ${this.#instance},
                        leased_until = ${now + verificationLimits.checkLeaseMs}::timestamptz
       where id in (
         select id from checks
          where ended_at is null and (leased_until is null or leased_until < ${now}::timestamptz)
          order by owed_at limit ${room} for update skip locked)
      returning ${checkColumns(this.#sql)}`
    for (const row of rows) {
      const made = this.#make(row).finally(() => {
        this.#running.delete(made)
        this.wake()
      })
      this.#running.add(made)
    }
  }

  async #make(check: OwedCheck): Promise<void> {
    try {
      await this.#end(check, await this.#check(check))
    } catch (error) {
      await this.#postpone(check, error).catch((broken: unknown) => this.#o.events.problem?.(broken, 'a check'))
    }
  }

  /** To be tried again in a while, or waived when its time is over. */
  async #postpone(check: OwedCheck, error: unknown): Promise<void> {
    const now = this.#o.runtime.now()
    const waived = error instanceof Later ? error.waived : 'verifier_failed'
    if (!this.#stop.signal.aborted && now - check.owedAt > verificationLimits.checkWaitMs) {
      await this.#end(check, { outcome: 'waived', waived, votes: [], by: [] })
      return
    }
    const pause = this.#stop.signal.aborted ? 0 : 10 * verificationLimits.checkLookMs
    await this.#sql`
      update checks set state = 'owed', instance = null, leased_until = ${now + pause}::timestamptz
       where id = ${check.id} and instance = ${this.#instance} and ended_at is null`
  }

  /** A known answer goes out later, beside the others. */
  #sendLater(wish: KnownWish): void {
    if (this.#knownWaiting >= verificationLimits.knownWaitingMax) return
    this.#knownWaiting++
    this.#o.runtime.after(this.#pace.delayMs(), () => {
      this.#knownWaiting--
      if (this.#stop.signal.aborted) return
      const sent = this.#sendKnown(wish)
        .catch((error: unknown) => this.#o.events.problem?.(error, 'a known answer'))
        .then(() => void this.#sending.delete(sent))
      this.#sending.add(sent)
    })
  }

  async #check(check: OwedCheck): Promise<Ending> {
    this.#pace.begun(this.#o.runtime.monotonic())
    const answer = await this.#transcript(check)
    if (!answer) return { outcome: 'waived', waived: 'transcript_destroyed', votes: [], by: [] }
    const sample = await this.#sampleOf(check)
    const operator = await this.#operator(check.workerId)
    // What only the pool itself may see is looked at by its own engine, or by nobody.
    const ours = check.reason === 'reference' || answer.poolOnly === true
    const first = ours ? this.#reference(check) : await this.#choose(check, sample, [operator], 1)
    const [verifier] = first
    if (!verifier) throw new Later('no_verifier')
    const onStage = (stage: 'committed' | 'revealed') => this.#moved(check, stage, verifier)
    const purpose = check.reason === 'reference' ? 'reference' : 'first'
    const look = await this.#look(check, answer, sample, verifier, purpose, { onStage })
    if (transcriptOf(sample) !== 'real' && verifier.operator !== 'self') this.#sendLater({ check, sample, verifier })
    if (look.says === 'clean') {
      const votes = [{ verifier: verifier.worker, overruled: false }]
      return { outcome: 'clean', first: verifier, look, votes, by: [verifier.worker] }
    }
    const confirmed = await this.#confirm(check, answer, sample, verifier, operator)
    if (!confirmed) throw new Later('no_second_opinion')
    return { ...confirmed, first: verifier, look }
  }

  #confirm(check: OwedCheck, answer: KeptAnswer, sample: Sample, first: Candidate, operator: string) {
    const { digest, decode, kernel } = answer
    const { kernelOf } = this.#o
    const isExact = decode === 'isolated' && digest !== null && typeof kernel === 'string'
    const [reference] = this.#reference(check)
    return secondOpinion({
      first,
      operator,
      reference,
      isSameClass: ({ worker }) => isExact && kernelOf(worker, digest) === kernel,
      choose: (excluded, count, suits) => this.#choose(check, sample, excluded, count, suits),
      look: async (by, replay) => (await this.#look(check, answer, sample, by, 'second', { replay })).says,
    })
  }

  readonly #look = async (
    check: OwedCheck,
    answer: KeptAnswer,
    sample: Sample,
    by: Candidate,
    purpose: LookPurpose,
    how: Pick<LookWish, 'onStage' | 'replay'> = {},
  ): Promise<Look> => {
    const { runtime, verifiers, index } = this.#o
    // Known answers are other workers'.
    const pair = purpose === 'known_good' || purpose === 'known_bad' ? undefined : this.#pairOf(check, by.worker)
    const calibration = pair && (await this.#calibrations.of(pair))
    const thresholds = calibration?.comparable ? { thresholds: calibration.thresholds } : {}
    const wish = { checkId: check.id, purpose, by, answer, sample, ...thresholds, ...how }
    return lookAt({ sql: this.#sql, runtime, verifiers, index }, wish, this.#stop.signal)
  }

  /**
   * For one check in five an answer of which the pool knows what to say, later and as if it were another check: tokens in
   * another order, or one that is known to be good. Where none is known to be, this one is looked at once more and is the next.
   */
  async #sendKnown({ check, sample, verifier }: KnownWish): Promise<void> {
    const known = transcriptOf(sample)
    if (known === 'real') return
    const answer = await this.#knownAnswer(check, known, { sample, verifier })
    if (!answer) {
      if (known === 'known_good') await this.#vouchFor(check, sample, verifier)
      return
    }
    const look = await this.#look(check, answer, sample, verifier, known).catch(() => undefined)
    if (!look) return
    const said = { known, says: look.says, isFile: answer.digest !== null }
    const other =
      judgeKnown(said) === 'ask' ? await this.#askAnother({ check, sample, verifier }, answer, known) : undefined
    const found = judgeKnown({ ...said, other })
    if (found === 'ask' || found === 'open') return
    await this.#o.database.transaction((tx) => this.#judgeVerifier(tx, check, verifier.worker, found === 'wrong'))
  }

  /** What somebody of another operator says of a known answer, at the same places; undefined: nobody is there, or says anything. */
  async #askAnother(
    { check, sample, verifier }: KnownWish,
    answer: KeptAnswer,
    known: 'known_bad' | 'known_good',
  ): Promise<CheckOutcome | undefined> {
    const operator = await this.#operator(check.workerId)
    const [other] = await this.#choose(check, sample, [operator, verifier.operator], 1)
    const look = other && (await this.#look(check, answer, sample, other, known).catch(() => undefined))
    return look?.says
  }

  /** Another operator looks at what one found clean. */
  async #vouchFor(check: OwedCheck, sample: Sample, first: Candidate): Promise<void> {
    const answer = await this.#transcript(check)
    const operator = await this.#operator(check.workerId)
    const [other] = await this.#choose(check, sample, [operator, first.operator], 1)
    if (answer && answer.poolOnly !== true && other) {
      await this.#look(check, answer, sample, other, 'second').catch(() => undefined)
    }
  }

  /**
   * Another worker's, with the same model file or, of upstreams, the same name. Good is what the pool's own engine or two operators found clean, and nobody anything else. What nobody ever gave is bad, whatever it
   * was made from. What only the pool may see goes to nobody.
   */
  async #knownAnswer(
    check: OwedCheck,
    known: 'known_bad' | 'known_good',
    { sample, verifier }: Pick<KnownWish, 'sample' | 'verifier'>,
  ): Promise<KeptAnswer | undefined> {
    const sql = this.#sql
    const alike = check.digest === null ? sql`digest is null and model = ${check.model}` : sql`digest = ${check.digest}`
    const operators = known === 'known_bad' ? 1 : 2
    const rows = await sql<OwedCheck[]>`
      select ${checkColumns(sql)} from checks c
       where ${alike} and worker_id <> ${verifier.worker} and state = 'clean' and id <> ${check.id}
         and exists (
           select from looks l where l.check_id = c.id and l.purpose in ('first', 'second', 'reference', 'window')
           having bool_and(l.says = 'clean') and (bool_or(l.operator = 'self') or count(distinct l.operator) >= ${operators}))
         and exists (select from transcripts t where (t.job_id, t.choice, t.attempt) = (c.job_id, c.choice, c.attempt))
       order by ended_at desc limit 32`
    const picked = rows[rows.length === 0 ? 0 : pick({ ...sample, label: 'canary', n: rows.length })]
    const good = picked && (await this.#transcript(picked))
    if (!good || good.poolOnly === true) return undefined
    return known === 'known_good' ? good : knownBadOf(good)
  }

  async #end(check: OwedCheck, ending: Ending): Promise<void> {
    const { database, runtime, events } = this.#o
    const { outcome, waived = null, first, look } = ending
    const now = runtime.now()
    const wire = await this.#verdict(check, ending, now)
    const ended = await database.transaction(async (tx) => {
      const [row] = await tx`
        update checks set state = ${outcome}, waived = ${waived}, verifier = ${first?.worker ?? null},
               score = ${look?.score ?? null}, ended_at = ${now}::timestamptz, leased_until = null
         where id = ${check.id} and ended_at is null returning id`
      if (!row) return false
      await tx`insert into verdicts (check_id, job_id, wire) values (${check.id}, ${check.jobId}, ${wire})`
      if (outcome !== 'waived') {
        const key = { workerId: check.workerId, model: check.model, duty: 'serve' } as const
        const { by, proof } = ending
        const event = proof ? ({ kind: 'mismatch', by } as const) : ({ kind: 'checked', outcome, by } as const)
        const moved = await this.#o.standings.decide(tx, key, event, check.id)
        if (moved.before !== moved.after) events.standingMoved?.({ ...key, ...moved })
      }
      await this.#learn(tx, check, ending)
      for (const { verifier, overruled } of ending.votes) await this.#judgeVerifier(tx, check, verifier, overruled)
      return true
    })
    if (!ended) return
    await this.#logVerdict(check.id, wire)
    const { id: checkId, workerId, model } = check
    events.checkEnded?.({ checkId, workerId, model, outcome, why: waived ?? look?.why ?? null })
  }

  /** The kernel classes of a worker that is checked and one that looks; undefined where one is not known. */
  #pairOf({ workerId, digest }: OwedCheck, verifier: string): ClassPair | undefined {
    if (digest === null) return undefined
    const answered = this.#o.kernelOf(workerId, digest)
    const looked = this.#o.kernelOf(verifier, digest)
    return answered === undefined || looked === undefined ? undefined : { digest, answered, looked }
  }

  /** Those whose arithmetic is near enough to the worker's; those of whom nothing is known, too. */
  async #comparable(check: OwedCheck, candidates: readonly Candidate[]): Promise<Candidate[]> {
    const found: Candidate[] = []
    for (const one of candidates) {
      const pair = this.#pairOf(check, one.worker)
      if (!pair || (await this.#calibrations.of(pair)).comparable) found.push(one)
    }
    return found
  }

  /** An answer for which others vouch tells how far honest machines of these classes differ. */
  async #learn(tx: Tx, check: OwedCheck, { outcome, first, look, from }: Ending): Promise<void> {
    if (outcome !== 'clean' || !first || !look) return
    const pair = this.#pairOf(check, first.worker)
    if (!pair) return
    const isOurs = (await this.#operator(check.workerId)) === 'self'
    const vouchedBy = isOurs || from === 'pool' ? 'reference' : from === 'verifiers' ? 'two_operators' : undefined
    const { score: mean, max } = look
    if (!vouchedBy) return
    const { operator } = first
    await this.#calibrations.learn(tx, { ...pair, checkId: check.id, operator, vouchedBy, mean, max })
  }

  async #judgeVerifier(tx: Tx, check: OwedCheck, verifier: string, overruled: boolean): Promise<void> {
    const key = { workerId: verifier, model: check.model, duty: 'verify' } as const
    const outcome = overruled ? 'hit' : 'clean'
    await this.#o.standings.decide(tx, key, { kind: 'checked', outcome, by: [] }, check.id)
  }

  async #verdict(check: OwedCheck, { outcome, waived, first, look }: Ending, at: number): Promise<Buffer> {
    const [leaf] = await this.#sql<{ hash: Buffer }[]>`
      select hash from log_leaves where kind = 'receipt' and ref = ${check.jobId}`
    if (!leaf) throw new Error(`job ${check.jobId} has no receipt`)
    const verdict: CheckVerdict = {
      job: check.jobId,
      receipt: leaf.hash,
      check: check.id,
      reason: waived ?? look?.why ?? check.reason,
      verifier: first ? Buffer.from(first.worker, 'hex') : null,
      outcome,
      score: look ? look.score.toFixed(6) : null,
      epoch: check.epoch,
      at,
    }
    const bytes = encodeMessage('verdict/1', verdict)
    const [signature] = signBatch(this.#o.pool, [{ type: 'verdict/1', bytes }])
    if (!signature) throw new Error('a batch of one has one signature')
    return encodeSigned({ bytes, signature })
  }

  async #logVerdict(checkId: string, wire: Buffer): Promise<void> {
    await this.#o.commit.submit([part(this.#o.logStage, verdictLeaf(checkId, wire))])
  }

  async #moved(check: OwedCheck, stage: 'committed' | 'revealed', by: Candidate): Promise<void> {
    await this.#sql`
      update checks set state = ${stage}, verifier = ${by.worker}
       where id = ${check.id} and instance = ${this.#instance} and ended_at is null`
  }

  #reference(check: OwedCheck): Candidate[] {
    const reference = this.#o.index.reference(check.model, check.digest, check.workerId)
    return reference ? [reference] : []
  }

  async #choose(
    check: OwedCheck,
    sample: Sample,
    excluded: readonly string[],
    count: number,
    suits: (candidate: Candidate) => boolean = () => true,
  ): Promise<Candidate[]> {
    const { index } = this.#o
    const made = await this.#sql<{ operator: string; checks: number }[]>`
      select l.operator, count(*)::int as checks from looks l join checks c on c.id = l.check_id
       where c.worker_id = ${check.workerId} and c.model = ${check.model} and l.purpose = 'first'
         and c.ended_at > ${this.#o.runtime.now() - verificationLimits.transcriptMs}::timestamptz
       group by 1`
    const others = index
      .candidates(check.model, check.digest)
      .filter((one) => one.worker !== check.workerId && suits(one))
    return chooseVerifiers({
      ...sample,
      candidates: await this.#comparable(check, others),
      excluded: new Set(excluded),
      checksBy: new Map(made.map(({ operator, checks }) => [operator, checks])),
      count,
    })
  }

  async #sampleOf({ epoch, statement, id }: OwedCheck): Promise<Sample> {
    const open = await this.#o.epochs.find(epoch)
    if (!open) throw new Error(`epoch ${epoch} is unknown`)
    return { epochKey: open.key, statementHash: statement ?? sha256(Buffer.from(id)) }
  }

  async #operator(workerId: string): Promise<string> {
    return this.#o.index.operatorOf(workerId) ?? (await this.#o.operatorOf(workerId)) ?? workerId
  }

  async #transcript({ jobId, choice, attempt }: OwedCheck): Promise<KeptAnswer | undefined> {
    const [row] = await this.#sql<{ wrap: Buffer; body: Buffer }[]>`
      select wrap, body from transcripts where job_id = ${jobId} and choice = ${choice} and attempt = ${attempt}`
    if (!row) return undefined
    const label = transcriptLabel(jobId, choice, attempt)
    const key = unseal(this.#o.sealingKey, label, row.wrap)
    const bytes = key && unseal(key, label, row.body)
    return bytes && decodeAnswer(bytes)
  }

  /** Transcripts whose time is over are destroyed; verdicts that a crash kept from the log get their leaf. */
  async #sweep(): Promise<void> {
    const { runtime } = this.#o
    if (runtime.monotonic() - this.#sweptAt < verificationLimits.epochLookMs) return
    this.#sweptAt = runtime.monotonic()
    await this.#sql`
      delete from transcripts where kept_at < ${runtime.now() - verificationLimits.transcriptMs}::timestamptz`
    await this.#calibrations.forget()
    const unlogged = await this.#sql<{ id: string; wire: Buffer }[]>`
      select v.check_id as id, v.wire from verdicts v join checks c on c.id = v.check_id
       where c.ended_at > ${runtime.now() - verificationLimits.transcriptMs}::timestamptz
         and not exists (select from log_leaves l where l.kind = 'check' and l.ref = v.check_id::text)
       limit 100`
    for (const { id, wire } of unlogged) await this.#logVerdict(id, wire)
  }
}

/** `"lichen/check/1\n" ‖ sha256(signed verdict/1)`: what the log holds of a check that ended. */
export function verdictLeaf(checkId: string, wire: Buffer): Leaf {
  return { kind: 'check', ref: checkId, data: Buffer.concat([Buffer.from('lichen/check/1\n'), sha256(wire)]) }
}
