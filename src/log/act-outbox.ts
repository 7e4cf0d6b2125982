import { type GroupCommit, part, type Sql, type Stage } from '#storage'
import { type ActRow, actColumns, actLeafData } from './acts.ts'
import type { Leaf } from './leaf.ts'
import { logLimits } from './limits.ts'

/**
 * Gives acts their leaves. Acts become visible in the order of their commits, not of their numbers, so it looks back for
 * as long as a transaction can last.
 */
export class ActOutbox {
  readonly #sql: Sql
  readonly #stage: Stage<Leaf>
  /** Every act up to this one has its leaf. */
  #settled = 0n

  constructor(sql: Sql, stage: Stage<Leaf>) {
    this.#sql = sql
    this.#stage = stage
  }

  /** One round; resolves when the leaves are committed. Returns how many. */
  async send(commit: Pick<GroupCommit, 'submit'>): Promise<number> {
    const settled = await this.#newestSettled()
    const acts = await this.#sql<ActRow[]>`
      select ${actColumns(this.#sql)} from acts a
       where a.seq > ${this.#settled}
         and not exists (select from log_leaves l where l.kind = 'act' and l.ref = a.seq::text)
       order by a.seq limit ${logLimits.actsPerRoundMax}`
    await Promise.all(acts.map((act) => this.#submit(commit, act)))
    if (acts.length < logLimits.actsPerRoundMax) this.#settled = settled
    return acts.length
  }

  /** The newest act that is so old that none before it can still appear. */
  async #newestSettled(): Promise<bigint> {
    const [row] = await this.#sql<{ seq: bigint }[]>`
      select seq from acts where at < clock_timestamp() - ${logLimits.actLatenessMs} * interval '1 millisecond'
       order by seq desc limit 1`
    return row?.seq ?? this.#settled
  }

  async #submit(commit: Pick<GroupCommit, 'submit'>, act: ActRow): Promise<void> {
    const leaf: Leaf = { kind: 'act', ref: String(act.seq), data: actLeafData(act) }
    const outcome = await commit.submit([part(this.#stage, leaf)])
    if (!outcome.applied) throw new Error(`act ${act.seq} is not what the log says it was`)
  }
}
