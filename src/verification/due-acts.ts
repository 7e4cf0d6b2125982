import { insertAct } from '#log'
import type { Runtime } from '#runtime'
import type { Database, Tx } from '#storage'
import type { ActCase, Acts } from './acts.ts'
import { aloneWith } from './alone-with.ts'
import { countsStill } from './fresh-start.ts'
import type { Duty, Standings } from './standings.ts'
import type { Tribunals } from './tribunals.ts'
import type { Act } from './verdict.ts'

interface DueAct {
  readonly id: string
  readonly workerId: string
  readonly model: string
  readonly duty: Duty
  readonly act: Act['act'] | 'pay_back'
  readonly verifier: string | null
  readonly because: string
}

interface DueActsOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly standings: Standings
  readonly acts: Acts
  readonly tribunals: Tribunals
}

/** Acts that are carried out in one go. */
const atOnceMax = 100

/**
 * Does what decisions ask for, in their order, each once for good: no other process of the pool does it meanwhile, and nobody forestalls it
 * half done. After a crash it comes again; who does it sees to that by its id.
 */
export class DueActs {
  readonly #o: DueActsOptions

  constructor(options: DueActsOptions) {
    this.#o = options
  }

  /**
   * What is due now; stops at the first that cannot be done, which comes again. Last looks at one worker take their time: nobody else's
   * freeze or slash waits for them, and after one it is looked anew what is due. Returns whether there is more.
   */
  async carryOut(): Promise<boolean> {
    const due = await this.#o.database.sql<DueAct[]>`
      select id, worker_id as "workerId", model, duty, act, verifier, because from standing_acts
       where done_at is null
       order by act in ('recheck_window', 'refund_users'), decided_at, step limit ${atOnceMax}`
    for (const act of due) {
      if (act.act === 'recheck_window') {
        // It takes minutes and changes nothing: whoever begins anew does not wait for it.
        await this.#carryOut(act)
        return true
      }
      await aloneWith(this.#o.database, act.workerId, () => this.#carryOut(act))
    }
    return due.length === atOnceMax
  }

  /** Unless it was done meanwhile, or an admin's reset or grant forestalled it. */
  async #carryOut(act: DueAct): Promise<void> {
    if (!(await this.#isDue(act))) return
    await this.#do(act)
    await this.#o.database.transaction((tx) => this.#done(tx, act))
  }

  async #do(due: DueAct): Promise<void> {
    const { acts, tribunals } = this.#o
    const about: ActCase = due
    // What a verifier said wrongly costs it its duty and its work; earnings of its own answers are not touched.
    if (due.duty === 'verify' && due.act !== 'freeze') return undefined
    switch (due.act) {
      case 'pause_releases':
        return acts.pauseReleases(about)
      case 'resume_releases':
        return acts.resumeReleases(about)
      case 'freeze':
        return acts.freeze(about)
      case 'slash':
        return acts.slash(about)
      case 'block_operator':
        return acts.blockOperator(about)
      case 'pay_back':
        return acts.payBack(about)
      case 'refund_users':
        return acts.refundUsers({ ...about, jobs: await this.#convictedJobs(due) })
      case 'call_tribunal':
        return tribunals.call(due)
      case 'recheck_window':
        return tribunals.recheckWindow(due)
      case 'hit_verifier':
        return undefined
    }
  }

  async #isDue({ id }: DueAct): Promise<boolean> {
    const rows = await this.#o.database.sql`select from standing_acts where id = ${id} and done_at is null`
    return rows.length > 0
  }

  /** Of answers found false since its last fresh start: what was found before, an admin has said, does not count. */
  async #convictedJobs({ workerId, model }: DueAct): Promise<string[]> {
    const { sql } = this.#o.database
    const rows = await sql<{ jobId: string }[]>`
      select distinct c.job_id as "jobId" from checks c
       where c.worker_id = ${workerId} and ${countsStill(sql)}
         and ((c.state = 'hit' and c.model = ${model}) or exists (
           select from looks l where l.check_id = c.id and l.purpose = 'window' and l.says = 'hit'))`
    return rows.map(({ jobId }) => jobId)
  }

  /** What the database itself keeps of an act happens in the transaction that marks it done. */
  async #done(tx: Tx, due: DueAct): Promise<void> {
    const { runtime, standings } = this.#o
    const [row] = await tx`
      update standing_acts set done_at = ${runtime.now()}::timestamptz
       where id = ${due.id} and done_at is null returning id`
    if (!row) return
    const { workerId, model, act, duty, verifier, because } = due
    if (act === 'hit_verifier' && verifier !== null) {
      const key = { workerId: verifier, model, duty: 'verify' } as const
      await standings.decide(tx, key, { kind: 'checked', outcome: 'hit', by: [] }, because)
    }
    await insertAct(tx, {
      actor: 'pool',
      action: `worker.${act}`,
      subject: workerId,
      details: { model, duty, because, verifier },
    })
  }
}
