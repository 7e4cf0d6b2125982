import type { Runtime } from '#runtime'
import type { Database, Sql } from '#storage'
import { checkColumns, type OwedCheck } from './check-columns.ts'
import { type Candidate, chooseVerifiers } from './choose-verifiers.ts'
import { countsStill } from './fresh-start.ts'
import type { Look } from './judge-look.ts'
import { verificationLimits } from './limits.ts'
import type { LookPurpose } from './look-at.ts'
import type { Sample } from './sampling.ts'
import type { Standings } from './standings.ts'
import type { KeptAnswer } from './transcript.ts'
import type { VerifierIndex } from './verifier-index.ts'
import type { Vote } from './votes.ts'

interface Accused {
  /** Of the act that calls it. */
  readonly id: string
  readonly workerId: string
  readonly model: string
  readonly duty: string
}

interface Exhibit {
  readonly check: OwedCheck
  readonly answer: KeptAnswer
  readonly sample: Sample
}

interface TribunalsOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly standings: Standings
  readonly index: VerifierIndex
  readonly operator: (workerId: string) => Promise<string>
  readonly sampleOf: (check: OwedCheck) => Promise<Sample>
  readonly transcript: (check: OwedCheck) => Promise<KeptAnswer | undefined>
  readonly look: (
    check: OwedCheck,
    answer: KeptAnswer,
    sample: Sample,
    by: Candidate,
    purpose: LookPurpose,
  ) => Promise<Look>
}

/**
 * Looks again at what a frozen worker is accused of: three verifiers of distinct operators, or the pool's own engine where
 * so many are not there. Until then the worker stays frozen.
 */
export class Tribunals {
  readonly #o: TribunalsOptions
  readonly #sql: Sql

  constructor(options: TribunalsOptions) {
    this.#o = options
    this.#sql = options.database.sql
  }

  /** Unless an admin's reset comes first: who has begun anew stands before no tribunal. */
  async call({ id, workerId, model, duty }: Accused): Promise<void> {
    await this.#sql`
      with due as (select from standing_acts where id = ${id} and done_at is null for share)
      insert into tribunals (id, worker_id, model, duty, called_at)
      select ${id}::uuid, ${workerId}, ${model}, ${duty}, ${this.#o.runtime.now()}::timestamptz from due on conflict do nothing`
  }

  /** Holds those that can be held now, one after the other. */
  async hold(stop: AbortSignal): Promise<void> {
    const open = await this.#sql<Accused[]>`
      select id, worker_id as "workerId", model, duty from tribunals where ended_at is null order by called_at limit 10`
    for (const accused of open) {
      if (stop.aborted) return
      await this.#holdOne(accused)
    }
  }

  /**
   * Every answer of a convicted worker that is still kept is looked at once more, with whatever model it was: those that somebody found
   * clean, and those of which nobody could tell.
   */
  async recheckWindow({ workerId }: Accused): Promise<void> {
    const checks = await this.#sql<OwedCheck[]>`
      select ${checkColumns(this.#sql)} from checks c
       where worker_id = ${workerId} and state in ('clean', 'waived') and ${countsStill(this.#sql)}
         and exists (select from transcripts t where (t.job_id, t.choice, t.attempt) = (c.job_id, c.choice, c.attempt))
         and not exists (select from looks l where l.check_id = c.id and l.purpose = 'window')
       order by ended_at desc limit ${verificationLimits.heldPrices}`
    for (const check of checks) {
      const [exhibit] = await this.#exhibitsOf([check])
      if (!exhibit) continue
      const { model, digest, id } = check
      const own = exhibit.answer.poolOnly && this.#o.index.reference(model, digest, workerId)
      const others = exhibit.answer.poolOnly
        ? []
        : await this.#members({ workerId, model, id, duty: 'serve' }, exhibit, 1)
      const by = own || others[0]
      if (by) await this.#o.look(check, exhibit.answer, exhibit.sample, by, 'window').catch(() => undefined)
    }
  }

  async #holdOne(accused: Accused): Promise<void> {
    const { workerId, model } = accused
    const hits = await this.#sql<OwedCheck[]>`
      select ${checkColumns(this.#sql)} from checks c
       where worker_id = ${workerId} and model = ${model} and state = 'hit'
         and ${countsStill(this.#sql)}
       order by ended_at desc limit ${verificationLimits.exhibitsMax}`
    const exhibits = await this.#exhibitsOf(hits)
    const [first] = exhibits
    if (!first || accused.duty !== 'serve') return
    const isPrivate = exhibits.some(({ answer }) => answer.poolOnly)
    const members = isPrivate ? [] : await this.#members(accused, first, verificationLimits.tribunalVotes)
    const own =
      members.length < verificationLimits.tribunalVotes && this.#o.index.reference(model, first.check.digest, workerId)
    const judges = own ? [own] : members
    if (!own && judges.length < verificationLimits.tribunalVotes) return
    const votes = await Promise.all(judges.map((one) => this.#voteOf(one, exhibits)))
    if (votes.every((vote) => vote !== undefined)) await this.#decide(accused, votes, own !== false)
  }

  async #voteOf(by: Candidate, exhibits: readonly Exhibit[]): Promise<Vote | undefined> {
    let against = 0
    for (const { check, answer, sample } of exhibits) {
      const look = await this.#o.look(check, answer, sample, by, 'tribunal').catch(() => undefined)
      if (!look) return undefined
      if (look.says === 'hit') against++
    }
    return { verifier: by.worker, operator: by.operator, says: against > exhibits.length / 2 ? 'hit' : 'clean' }
  }

  /** The pool's own engine convicts alone; it does not clear alone what others have seen. */
  async #decide({ id, workerId, model }: Accused, votes: readonly Vote[], alone: boolean): Promise<void> {
    const refuted = alone && votes[0]?.says === 'hit'
    if (alone && !refuted) return
    const { database, runtime, standings } = this.#o
    await database.transaction(async (tx) => {
      const hits = votes.filter(({ says }) => says === 'hit').length
      const outcome = refuted ? 'refuted' : hits > votes.length / 2 ? 'hit' : 'clean'
      const [row] = await tx`
        update tribunals set votes = ${JSON.stringify(votes)}::text::jsonb, outcome = ${outcome},
               ended_at = ${runtime.now()}::timestamptz
         where id = ${id} and ended_at is null returning id`
      if (!row) return
      const key = { workerId, model, duty: 'serve' } as const
      await standings.decide(tx, key, refuted ? { kind: 'refuted' } : { kind: 'tribunal', votes }, id)
    })
  }

  async #exhibitsOf(checks: readonly OwedCheck[]): Promise<Exhibit[]> {
    const found: Exhibit[] = []
    for (const check of checks) {
      const answer = await this.#o.transcript(check)
      if (answer) found.push({ check, answer, sample: await this.#o.sampleOf(check) })
    }
    return found
  }

  /** Of distinct operators; those who accused it are left out where enough others are there. */
  async #members({ workerId, model }: Accused, { check, sample }: Exhibit, count: number): Promise<Candidate[]> {
    const { index, operator } = this.#o
    const candidates = index.candidates(model, check.digest).filter(({ worker }) => worker !== workerId)
    const looked = await this.#sql<{ operator: string }[]>`
      select distinct operator from looks where check_id = ${check.id} and purpose in ('first', 'second')`
    const own = await operator(workerId)
    const choose = (excluded: readonly string[]) =>
      chooseVerifiers({ ...sample, candidates, excluded: new Set(excluded), checksBy: new Map(), count })
    const strangers = choose([own, ...looked.map((one) => one.operator)])
    return strangers.length >= count ? strangers : choose([own])
  }
}
