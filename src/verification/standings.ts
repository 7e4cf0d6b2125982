import {
  type ChartParams,
  chartDefaults,
  newCharts,
  type Posterior,
  posteriorAfter,
  reputationLimits,
  routingWeight,
  unknownPosterior,
} from '#reputation'
import type { Runtime } from '#runtime'
import { bigints, type Database, databaseError, type Sql, type Tx, texts } from '#storage'
import { verificationLimits } from './limits.ts'
import type { Rate } from './rates.ts'
import { type CheckProfile, checkProfiles } from './sampling.ts'
import {
  type Act,
  decideAfterCheck,
  dueRatePpm,
  newStanding,
  type Phase,
  type Standing,
  type StandingEvent,
} from './verdict.ts'

/** What a worker is watched for: its own answers, and what it says of others'. */
export type Duty = 'serve' | 'verify'

/** Who, with which model, in which duty. */
export interface StandingKey {
  readonly workerId: string
  readonly model: string
  readonly duty: Duty
}

/** How a worker stands with a model, for those who give it work or hold its earnings. */
export interface StandingView {
  readonly phase: Phase
  /** Clean checks since it came, or since its reset. */
  readonly clean: number
  /** Routing weight, 0 … 1: its share of good answers is above it with 95 % probability. 0: no work. */
  readonly weight: number
  /** Requests it may have at once; a newcomer has few, one that is frozen none. */
  readonly runsMax: number
  /** It has yet to pass its first {@link verificationLimits.probationChecks} checks. */
  readonly newcomer: boolean
  /** Share of its next statements that are checked, parts per million. */
  readonly checkPpm: number
}

/** A decision on record. `acts` are to be done by whoever finds them due first. */
export interface Decided {
  readonly before: Phase
  readonly after: Phase
  readonly acts: readonly Act[]
}

interface Row {
  readonly workerId: string
  readonly model: string
  readonly duty: Duty
  readonly phase: Phase
  readonly clean: number
  readonly heights: readonly bigint[]
  readonly posteriorClean: number
  readonly posteriorHits: number
  readonly accusers: readonly string[]
}

interface Known {
  readonly standing: Standing
  readonly posterior: Posterior
  readonly view: StandingView
}

export interface StandingsOptions {
  readonly database: Database
  readonly runtime: Runtime
  /** How closely the pool looks; `sampled` unless given. */
  readonly profile?: CheckProfile
  /** Whether it is the pool's own worker, its reference engine: no newcomer, and never short of work. */
  readonly isOwn?: (workerId: string) => boolean
  /** Whether another pool has shown something against it: then it is checked always, and nothing else. */
  readonly isSuspected?: (workerId: string) => boolean
  readonly onProblem?: (error: unknown) => void
  /** Standings of a worker, or of all, were read anew. */
  readonly onRead?: (workerId: string | undefined) => void
}

/** Its verdicts get no second opinion before they count, so a verifier's charts expect the noise of a first look. */
const chartsOf: Readonly<Record<Duty, ChartParams>> = {
  serve: chartDefaults,
  verify: { ...chartDefaults, honestHitRate: reputationLimits.honestHitRateUnconfirmed },
}

/**
 * How every worker stands with every model: in memory for readers, on record for good. Decisions are made one at a time
 * for each row, under its lock, so that several pool processes on one database never lose one.
 */
export class Standings implements Disposable {
  readonly #o: StandingsOptions
  readonly #profile: CheckProfile
  readonly #known = new Map<string, Known>()
  readonly #newcomer: StandingView
  readonly #stop: () => void
  #reading: Promise<void> = Promise.resolve()

  private constructor(options: StandingsOptions) {
    this.#o = options
    this.#profile = options.profile ?? checkProfiles.sampled
    this.#newcomer = viewOf(newStanding(), unknownPosterior, this.#profile)
    const onConnected = () => this.#read(undefined)
    const listener = options.database.listen('lichen_standings', (workerId) => this.#read(workerId), onConnected)
    this.#stop = () => listener.stop()
  }

  /** @throws PoolError database_unavailable. */
  static async open(options: StandingsOptions): Promise<Standings> {
    const standings = new Standings(options)
    try {
      await standings.#load(undefined)
    } catch (error) {
      standings[Symbol.dispose]()
      throw databaseError(error)
    }
    return standings
  }

  /** For every request: a look-up. */
  of(workerId: string, model: string): StandingView {
    const view = this.#known.get(nameOf({ workerId, model, duty: 'serve' }))?.view ?? this.#newcomer
    const banned = this.mayVerify(workerId, model) ? view : { ...view, weight: 0, runsMax: 0, newcomer: false }
    return this.#o.isOwn?.(workerId) ? ownView(banned) : banned
  }

  /** Whether its word about others still counts. */
  mayVerify(workerId: string, model: string): boolean {
    const phase = this.#known.get(nameOf({ workerId, model, duty: 'verify' }))?.standing.phase
    return phase !== 'frozen' && phase !== 'convicted'
  }

  /** Workers against whom something was found that is not settled, or is settled against them, with any model and in any duty. */
  unsettled(): ReadonlySet<string> {
    const ids = new Set<string>()
    for (const [name, { view }] of this.#known) {
      if (view.phase !== 'probation' && view.phase !== 'trusted') ids.add(name.slice(0, name.indexOf(' ')))
    }
    return ids
  }

  /** Check rates that differ from always. */
  rates(): Rate[] {
    return [...this.#known].flatMap(([name, { view }]): Rate[] => {
      const [worker = '', duty, ...model] = name.split(' ')
      const always = view.checkPpm >= 1_000_000 || this.#o.isSuspected?.(worker) === true
      return duty === 'serve' && !always ? [[worker, model.join(' '), view.checkPpm]] : []
    })
  }

  /** Every model a worker has a record with, and the verifiers' duty of it. */
  list(workerId: string): { readonly model: string; readonly duty: Duty; readonly view: StandingView }[] {
    const own = [...this.#known].filter(([name]) => name.startsWith(`${workerId} `))
    return own.map(([name, { view }]) => {
      const [, duty = '', ...model] = name.split(' ')
      return { model: model.join(' '), duty: duty as Duty, view }
    })
  }

  /**
   * Decides in the caller's transaction, and writes the decision and what follows from it.
   * `because`: the check or tribunal; it was logged before or is logged in the same transaction.
   */
  async decide(tx: Tx, key: StandingKey, event: StandingEvent, because: string): Promise<Decided> {
    const { workerId, model, duty } = key
    const now = this.#o.runtime.now()
    const fresh = newStanding(chartsOf[duty])
    await tx`
      insert into standings (worker_id, model, duty, phase, clean, heights, posterior_clean, posterior_hits, accusers, changed_at)
      values (${workerId}, ${model}, ${duty}, 'probation', 0, ${bigints(fresh.charts.heights)}::bigint[], 0, 0, '{}',
              ${now}::timestamptz)
      on conflict do nothing`
    const [row] = await tx<Row[]>`
      select ${columns(tx)} from standings
       where worker_id = ${workerId} and model = ${model} and duty = ${duty} for update`
    if (!row) throw new Error('a standing that was just written is gone')
    const { standing, posterior } = knownOf(row, this.#profile)
    const { standing: next, acts } = decideAfterCheck(standing, event)
    const word = event.kind === 'checked' ? posteriorAfter(posterior, event.outcome) : posterior
    await tx`
      update standings set phase = ${next.phase}, clean = ${next.clean},
             heights = ${bigints(next.charts.heights)}::bigint[], posterior_clean = ${word.clean},
             posterior_hits = ${word.hits}, accusers = ${texts(next.accusers)}::text[], changed_at = ${now}::timestamptz
       where worker_id = ${workerId} and model = ${model} and duty = ${duty}`
    for (const [step, act] of acts.entries()) {
      await tx`
        insert into standing_acts (id, worker_id, model, duty, act, verifier, because, decided_at, step)
        values (${this.#o.runtime.uuid()}, ${workerId}, ${model}, ${duty}, ${act.act},
                ${act.act === 'hit_verifier' ? act.verifier : null}, ${because}, ${now}::timestamptz, ${step})`
    }
    return { before: standing.phase, after: next.phase, acts }
  }

  /**
   * An admin's reset: nothing that was found so far counts for or against the worker any longer, with any model. Its tribunals are over, and
   * what was due is not done, but for money that is to go back to it. In the act's transaction, tables in the order of decisions; alone with the
   * worker (`aloneWith`), or what is being carried out just now is done after all.
   */
  async reset(tx: Tx, workerId: string): Promise<void> {
    const now = this.#o.runtime.now()
    const endTribunals = () => tx`
      update tribunals set outcome = 'void', ended_at = ${now}::timestamptz
       where worker_id = ${workerId} and ended_at is null`
    await endTribunals()
    await tx`delete from standings where worker_id = ${workerId}`
    await tx`
      update standing_acts set done_at = ${now}::timestamptz
       where worker_id = ${workerId} and done_at is null and act <> 'pay_back'`
    // One that was being called meanwhile: from here on none is.
    await endTribunals()
    await tx`insert into fresh_starts (worker_id, at) values (${workerId}, ${now}::timestamptz)`
  }

  /** What is known of all workers' share of good answers, forgotten; their charts, phases and clean checks stay. Returns how many. */
  async resetPosteriors(tx: Tx): Promise<number> {
    const rows = await tx`
      update standings set posterior_clean = 0, posterior_hits = 0, changed_at = ${this.#o.runtime.now()}::timestamptz
       where posterior_clean > 0 or posterior_hits > 0 returning 1`
    return rows.length
  }

  /** Resolves when everything that was announced has been read. */
  settled(): Promise<void> {
    return this.#reading
  }

  [Symbol.dispose](): void {
    this.#stop()
  }

  /** Reads one worker's rows again, or all of them; what fails is read when listening begins again. */
  #read(workerId: string | undefined): void {
    this.#reading = this.#reading.then(() => this.#load(workerId)).catch((error: unknown) => this.#o.onProblem?.(error))
  }

  async #load(workerId: string | undefined): Promise<void> {
    const { sql } = this.#o.database
    const rows =
      workerId === undefined
        ? await sql<Row[]>`select ${columns(sql)} from standings`
        : await sql<Row[]>`select ${columns(sql)} from standings where worker_id = ${workerId}`
    const prefix = workerId === undefined ? '' : `${workerId} `
    const there = new Set(rows.map(nameOf))
    for (const name of this.#known.keys()) if (name.startsWith(prefix) && !there.has(name)) this.#known.delete(name)
    for (const row of rows) this.#known.set(nameOf(row), knownOf(row, this.#profile))
    this.#o.onRead?.(workerId)
  }
}

const columns = (sql: Sql) => sql`
  worker_id as "workerId", model, duty, phase, clean, heights, posterior_clean as "posteriorClean",
  posterior_hits as "posteriorHits", accusers`

const nameOf = ({ workerId, model, duty }: StandingKey) => `${workerId} ${duty} ${model}`

function knownOf(row: Row, profile: CheckProfile): Known {
  const charts = newCharts(chartsOf[row.duty], row.heights.map(Number))
  const standing = { phase: row.phase, clean: row.clean, charts, accusers: row.accusers }
  const posterior = { clean: row.posteriorClean, hits: row.posteriorHits }
  return { standing, posterior, view: viewOf(standing, posterior, profile) }
}

function viewOf(standing: Standing, posterior: Posterior, profile: CheckProfile): StandingView {
  const { phase, clean } = standing
  const barred = phase === 'frozen' || phase === 'convicted'
  const isNew = clean < verificationLimits.probationChecks
  return {
    phase,
    clean,
    weight: barred ? 0 : routingWeight(posterior),
    runsMax: barred ? 0 : isNew ? verificationLimits.newcomerRunsMax : Number.MAX_SAFE_INTEGER,
    newcomer: isNew && !barred,
    checkPpm: dueRatePpm(standing, profile),
  }
}

/** The pool's own worker is what others are compared with: no newcomer, and checked like everybody. */
function ownView(view: StandingView): StandingView {
  if (view.phase === 'frozen' || view.phase === 'convicted') return view
  return { ...view, weight: 1, runsMax: Number.MAX_SAFE_INTEGER, newcomer: false }
}
