import type { Identity } from '#crypto'
import {
  type Answer,
  answerNo,
  answerYes,
  type Comparison,
  compareStatements,
  type Federation,
  federationLimits,
  type Heard,
  type SignedStatement,
  signStatement,
  statementAskSchema,
  statementFromWire,
  statementHolds,
  statementPath,
  statementToWire,
} from '#federation'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Sql } from '#storage'

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  readonly federation: Federation
  readonly pool: Identity
}

/** Jobs that were asked for so lately may be settled on one side only. */
const settledAfterS = 120

/** What both pools have signed, and how it compares. */
export interface ComparedStatements extends Comparison {
  readonly ours: SignedStatement
  readonly theirs: SignedStatement
}

/** What this pool and another owe each other for work, job by job. */
export class Statements {
  readonly #o: Options

  constructor(options: Options) {
    this.#o = options
  }

  /** @throws PoolError peer_unreachable, conflict. */
  async exchange(idOrPrefix: string, days: number): Promise<ComparedStatements> {
    const { federation, runtime } = this.#o
    const { peer } = await federation.office.show(idOrPrefix)
    if (peer.version !== 2)
      throw new PoolError('conflict', 'It speaks version 1, which knows no statements.', 'Look at `lichen ledger`.')
    const until = Math.floor(runtime.now() / 1_000) - settledAfterS
    const ask = { since: Math.max(0, until - days * 86_400), until }
    const called = await federation.outbound.call(
      { url: peer.url, known: peer },
      { method: 'POST', target: statementPath, body: ask },
    )
    if (!called.ok)
      throw new PoolError('peer_unreachable', called.message, 'Try again; `lichen fed ping` says how it is.')
    const theirs = statementFromWire(called.body, peer.id, federation.self)
    const fits = theirs && theirs.since === ask.since && theirs.until === ask.until && statementHolds(peer.key, theirs)
    if (!fits) throw new PoolError('peer_unreachable', 'It gave no statement that it has signed.', 'Ask its admin.')
    const ours = await this.#own(peer.id, ask)
    return { ours, theirs, ...compareStatements(ours, theirs) }
  }

  async reply({ envelope, verified }: Heard): Promise<Answer> {
    const asked = statementAskSchema.safeParse(verified.body)
    if (envelope.version !== 2 || !asked.success) return answerNo(400, 'invalid since or until')
    return answerYes(statementToWire(await this.#own(envelope.sender, asked.data)))
  }

  async #own(peer: PoolId, { since, until }: { since: number; until: number }): Promise<SignedStatement> {
    const { database, federation, pool } = this.#o
    const between = [new Date(since * 1_000), new Date(until * 1_000)] as const
    const [lent, borrowed] = await Promise.all([
      lentRows(database.sql, peer, between),
      borrowedRows(database.sql, peer, between),
    ])
    return signStatement(pool, { giver: federation.self, receiver: peer, since, until, lent, borrowed })
  }
}

type Between = readonly [since: Date, until: Date]
interface Row {
  readonly id: string
  readonly amount: bigint
}

/** What the peer paid for each of its jobs here, the newest. */
function lentRows(sql: Sql, peer: PoolId, [since, until]: Between): Promise<readonly Row[]> {
  return sql<Row[]>`
    select l.origin_request_id as id, -e.amount as amount
      from lent_jobs l
      join transfers r on r.hold = l.job_id and r.phase = 'posted'
      join accounts a on a.name = ${`peer:${peer}`}
      join entries e on e.account = a.id and e.transfer = r.id
     where l.peer_id = ${peer} and l.at >= ${since} and l.at < ${until}
     order by l.at desc limit ${federationLimits.statementJobsMax}`
}

/**
 * What the peer was paid for each job of this pool that it computed: for the last run it was asked for, under whose id it has it. Before,
 * it may have been too busy; a job that it had begun goes on nowhere but here.
 */
function borrowedRows(sql: Sql, peer: PoolId, [since, until]: Between): Promise<readonly Row[]> {
  return sql<Row[]>`
    select b.id::text as id, e.amount
      from borrowed_runs b
      join transfers r on r.hold = b.job_id and r.phase = 'posted'
      join accounts a on a.name = ${`peer:${peer}`}
      join entries e on e.account = a.id and e.transfer = r.id
     where b.peer_id = ${peer} and b.at >= ${since} and b.at < ${until}
       and not exists (
         select from borrowed_runs later
          where later.job_id = b.job_id and later.peer_id = b.peer_id and (later.at, later.id) > (b.at, b.id))
     order by b.at desc, b.job_id limit ${federationLimits.statementJobsMax}`
}
