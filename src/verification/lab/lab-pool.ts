import assert from 'node:assert'
import { sha256 } from '#crypto'
import { epochOf, selects } from '#protocol'
import type { CheckOutcome } from '#reputation'
import { chooseVerifiers } from '../choose-verifiers.ts'
import { verificationLimits } from '../limits.ts'
import { type Sample, transcriptOf } from '../sampling.ts'
import type { Duty } from '../standings.ts'
import { type Act, decideAfterCheck, dueRatePpm, type StandingEvent } from '../verdict.ts'
import { confirmHit, type Vote } from '../votes.ts'
import { type Dice, diceOf } from './dice.ts'
import { earning, LabMoney } from './lab-money.ts'
import { type Exhibit, LabWorker } from './lab-worker.ts'
import { lookAt, noise, type Transcript } from './transcript.ts'

/** One request for each worker every eight minutes: a day has 180, so that the 200 prices are what is held. */
const requestEveryMs = 480_000
const heldMs = 86_400_000
/** Charges of one worker are booked together, so that a lab of a million requests fits in memory. */
const bookedTogether = 50
/** Cost of a check as a share of the cost of an answer: a teacher-forced prefill on a CPU, measured 0.37 to 0.5. */
export const checkCost = 0.4
const { heldPrices, tribunalVotes } = verificationLimits

export interface PoolTally {
  requests: number
  /** Requests that were checked. */
  checks: number
  /** Transcripts that somebody looked at: checks, second opinions, known ones, tribunals, the last window. */
  looks: number
  /** Checks that nobody could do. */
  waived: number
  /** Charts that alarmed, whoever was meant. */
  alarms: number
}

/**
 * A pool in virtual time: the real sampling, judging, charts, standings and votes; workers of distinct operators that only
 * exist here. A check is over before the same worker's next request; the pool has no reference engine.
 */
export class LabPool {
  readonly workers: LabWorker[]
  readonly tally: PoolTally = { requests: 0, checks: 0, looks: 0, waived: 0, alarms: 0 }
  readonly #seed: string
  readonly #rate: number
  readonly #dice: Dice
  readonly #money: LabMoney
  /** Epoch and its key: here they come from the seed, so that a run can be repeated. */
  #key: { epoch: number; key: Buffer } = { epoch: -1, key: Buffer.alloc(32) }
  #now = 0

  /** `rate`: share of answers, or of accusations, of those who cheat as often as the run asks for. */
  constructor(seed: string, size: number, rate: number, from?: LabPool, money = new LabMoney()) {
    this.#seed = seed
    this.#rate = rate
    this.#dice = diceOf(sha256(Buffer.from(seed)).readUIntBE(0, 6))
    this.#money = from ? from.#money.fork() : money
    this.#now = from ? from.#now : 0
    this.workers = from
      ? from.workers.map((worker) => worker.fork())
      : Array.from({ length: size }, (_, n) => new LabWorker(`${seed}/${n}`))
  }

  /** The same pool at this moment, which goes on with other secrets and other dice. */
  fork(seed: string): LabPool {
    return new LabPool(seed, 0, this.#rate, this)
  }

  /** One request for every worker that gets any, or for those of `only`. */
  round(only?: readonly number[]): void {
    this.#now += requestEveryMs
    const asked = only ? only.flatMap((n) => this.workers[n] ?? []) : this.workers
    for (const worker of asked) if (worker.mayWork) this.#serve(worker)
  }

  #serve(worker: LabWorker): void {
    const { cheats, visible } = worker.adversary
    const cheated = this.#happens(cheats === 'rate' ? this.#rate : cheats)
    const wrong = cheated && this.#happens(visible)
    const sample = { epochKey: this.#epochKey(), statementHash: worker.nextStatement() }
    const qPpm = dueRatePpm(worker.standing.serve)
    this.tally.requests += 1
    if (cheated) worker.cheated += 1
    worker.held.push({ at: this.#now, wrong })
    if (selects({ ...sample, qPpm })) {
      this.#check(worker, { by: worker.adversary, wrong, noisy: !wrong && this.#happens(noise.first) }, sample)
    }
    if (worker.held.length - worker.booked >= bookedTogether) this.#book(worker)
    this.#release(worker)
  }

  /** A new identity in the place of one that was convicted. */
  replace(worker: LabWorker): LabWorker {
    const fresh = new LabWorker(`${worker.name}+`)
    fresh.become(worker.adversary)
    this.workers[this.workers.indexOf(worker)] = fresh
    return fresh
  }

  /** What cheating brought a worker more than honest work on the same requests would have, in earnings of a request. */
  profitOf(worker: LabWorker): number {
    this.#book(worker)
    const { saving, margin } = verificationLimits
    const cost = saving * (worker.served - worker.cheated)
    return this.#money.ownedBy(worker.id) - cost - margin * worker.served
  }

  /** Ends the run: everything is booked, and every credit is somewhere. */
  close(): void {
    for (const worker of this.workers) this.#book(worker)
    this.#money.assertConserved()
    for (const { id, held } of this.workers) {
      assert(
        this.#money.balance(`held:${id}`) === earning * BigInt(held.length),
        'earnings are held, released or slashed',
      )
    }
  }

  get debt(): bigint {
    return this.#money.debt
  }

  #check(worker: LabWorker, transcript: Transcript, sample: Sample): void {
    if (this.#others(worker).length < tribunalVotes) {
      this.tally.waived += 1
      return
    }
    this.tally.checks += 1
    worker.checks += 1
    const [first, ...more] = this.#choose(worker, sample)
    assert(first, 'three others can verify')
    worker.checksBy.set(first.id, (worker.checksBy.get(first.id) ?? 0) + 1)
    this.#sendKnown(first, sample)
    if (this.#says(first, transcript, worker) === 'clean') {
      this.#judgeVerifier(first, 'clean')
      this.#decide(worker, 'serve', { kind: 'checked', outcome: 'clean', by: [first.id] })
      return
    }
    const votes = more.map((one) => this.#vote(one, this.#says(one, transcript, worker, true)))
    const [second, third] = votes
    assert(second && third)
    const verdict = confirmHit(this.#vote(first, 'hit'), { from: 'verifiers', votes: [second, third] })
    for (const vote of [this.#vote(first, 'hit'), ...votes]) this.#judgeVote(vote, verdict.overruled, transcript)
    this.#decide(
      worker,
      'serve',
      { kind: 'checked', outcome: verdict.outcome, by: verdict.by },
      { transcript, said: 'clean' },
    )
  }

  /** With one check in five goes a transcript of which the pool knows what to say. */
  #sendKnown(verifier: LabWorker, sample: Sample): void {
    const known = transcriptOf(sample)
    if (known === 'real') return
    const wrong = known === 'known_bad'
    const transcript: Transcript = { by: null, wrong, noisy: !wrong && this.#happens(noise.first) }
    const said = this.#says(verifier, transcript, null)
    this.#judgeVerifier(verifier, (said === 'hit') === wrong ? 'clean' : 'hit', { transcript, said })
  }

  /** What somebody says of a transcript, which it may not even have looked at. */
  #says(verifier: LabWorker, transcript: Transcript, of: LabWorker | null, again = false): CheckOutcome {
    const { verifies } = verifier.adversary
    this.tally.looks += 1
    if (verifies === 'blindly') return 'clean'
    if (verifies === 'covering' && of?.adversary.verifies === 'covering') return 'clean'
    if (verifies === 'accusing' && this.#happens(this.#rate)) return 'hit'
    return lookAt(transcript, again, this.#dice)
  }

  #judgeVote({ verifier, says }: Vote, overruled: readonly string[], transcript: Transcript): void {
    const judged = this.#workerOf(verifier)
    this.#judgeVerifier(judged, overruled.includes(verifier) ? 'hit' : 'clean', { transcript, said: says })
  }

  #judgeVerifier(verifier: LabWorker, outcome: CheckOutcome, exhibit?: Exhibit): void {
    verifier.judged += 1
    this.#decide(verifier, 'verify', { kind: 'checked', outcome, by: [] }, exhibit)
  }

  #decide(worker: LabWorker, duty: Duty, event: StandingEvent, exhibit?: Exhibit): void {
    if (worker.convicted) return
    if (event.kind === 'checked' && event.outcome === 'hit' && exhibit) {
      worker.exhibits[duty] = [...worker.exhibits[duty], exhibit]
    }
    const { standing, acts } = decideAfterCheck(worker.standing[duty], event)
    worker.standing[duty] = standing
    if (standing.phase === 'probation' || standing.phase === 'trusted') worker.exhibits[duty] = []
    for (const act of acts) this.#do(worker, duty, act)
  }

  #do(worker: LabWorker, duty: Duty, act: Act): void {
    if (act.act === 'call_tribunal') this.#tribunal(worker, duty)
    else if (act.act === 'slash') this.#slash(worker)
    else if (act.act === 'hit_verifier') {
      const overruled = this.#workerOf(act.verifier)
      this.#judgeVerifier(overruled, 'hit', { transcript: { by: null, wrong: false, noisy: false }, said: 'hit' })
    }
  }

  /** Three others look again at what the charts rose for; each says whether most of it was wrongly said. */
  #tribunal(worker: LabWorker, duty: Duty): void {
    this.tally.alarms += 1
    const exhibits = worker.exhibits[duty]
    const sample = {
      epochKey: this.#epochKey(),
      statementHash: sha256(Buffer.from(`${worker.id}/tribunal/${worker.served}`)),
    }
    const votes = this.#choose(worker, sample).map((member) => {
      const against = exhibits.filter(({ transcript, said }) => this.#says(member, transcript, worker, true) !== said)
      return this.#vote(member, against.length > exhibits.length / 2 ? 'hit' : 'clean')
    })
    this.#decide(worker, duty, { kind: 'tribunal', votes })
    if (!worker.convicted) worker.cleared += 1
  }

  /** The last window is looked at again: what is wrong there is refunded, and nothing else is left of the earnings. */
  #slash(worker: LabWorker): void {
    this.#book(worker)
    const refuted = worker.held.filter(({ wrong }) => wrong).length
    this.tally.looks += worker.held.length
    const checks = worker.held.length + worker.checks
    this.#money.slash(worker.id, refuted, (BigInt(checks) * earning * BigInt(checkCost * 10)) / 10n)
    worker.held = []
    worker.booked = 0
    worker.convicted = true
  }

  #book(worker: LabWorker): void {
    const count = worker.held.length - worker.booked
    if (count > 0) this.#money.charge(worker.id, count, this.#now)
    worker.booked = worker.held.length
  }

  /**
   * Earnings are free when a day is over and 200 younger ones are held, and not while a chart of its answers stands above
   * zero. Those of its verdicts do not count here: they expect one hit in a hundred, so they are hardly ever at zero.
   */
  #release(worker: LabWorker): void {
    if (worker.held.length < heldPrices + bookedTogether || worker.standing.serve.phase === 'paused') return
    const over = worker.held.slice(0, worker.booked - heldPrices).filter(({ at }) => at + heldMs <= this.#now).length
    if (over <= 0) return
    this.#money.release(worker.id, over)
    worker.held.splice(0, over)
    worker.booked -= over
  }

  /** Three who may judge a worker; every worker is an operator of its own. */
  #choose(worker: LabWorker, sample: Sample): LabWorker[] {
    const candidates = this.#others(worker).map(({ id }) => ({ worker: id, operator: id }))
    const { id, checksBy } = worker
    const chosen = chooseVerifiers({ ...sample, candidates, excluded: new Set([id]), checksBy, count: tribunalVotes })
    return chosen.map((candidate) => this.#workerOf(candidate.worker))
  }

  #others(worker: LabWorker): LabWorker[] {
    return this.workers.filter((other) => other !== worker && other.mayWork)
  }

  #workerOf(id: string): LabWorker {
    const worker = this.workers.find((one) => one.id === id)
    assert(worker, 'who judged is a worker of this pool')
    return worker
  }

  #vote({ id }: LabWorker, says: CheckOutcome): Vote {
    return { verifier: id, operator: id, says }
  }

  #epochKey(): Buffer {
    const epoch = epochOf(this.#now)
    if (epoch !== this.#key.epoch) this.#key = { epoch, key: sha256(Buffer.from(`${this.#seed}/epoch/${epoch}`)) }
    return this.#key.key
  }

  #happens(chance: number): boolean {
    return this.#dice() < chance
  }
}
