import { sha256 } from '#crypto'
import type { Identity } from '#identity'
import { Earnings, ledgerStage, transferLeaf } from '#ledger'
import type { TransparencyLog } from '#log'
import { type Database, type GroupCommit, part } from '#storage'
import { aloneWith, type Standings } from '#verification'
import type { Ground } from './open-rooms.ts'

interface Needs extends Pick<Ground, 'settings' | 'runtime' | 'trouble' | 'pool' | 'database'> {
  readonly identity: Identity
  readonly commit: GroupCommit
  readonly transparency: TransparencyLog
  readonly standings: Standings
  readonly isOwn: (workerId: string) => boolean
}

/** What workers earn, until it is theirs. Settings with which cheating would pay were refused before. */
export function openEarnings(needs: Needs): Earnings {
  const { settings, runtime, trouble, pool, database, identity, commit, transparency, standings, isOwn } = needs
  return new Earnings({
    database,
    runtime,
    poolId: sha256(pool.identity.publicKey),
    signer: pool.identity,
    rule: { ms: settings.holdEarnings, payments: settings.holdPayments },
    submit: (ops) =>
      commit.submit(
        ops.flatMap((op) => [
          part(ledgerStage, op),
          part(transparency.stage, { kind: 'transfer', ref: op.id, data: transferLeaf(op) }),
        ]),
      ),
    mayRelease: (workerId) =>
      standings.list(workerId).every(({ view: { phase } }) => phase === 'probation' || phase === 'trusted'),
    isOwn,
    operatorOf: (workerId) => identity.operatorOf(workerId),
    checksCost: (workerId) => checksCost(database, workerId),
    hasOpenAppeal: (workerId) => hasOpenAppeal(database, workerId),
    convictions: () => convictionsPaid(database),
    whileConvicted: (workerId, work) =>
      aloneWith(database, workerId, async () => {
        const stands = (await convictionsPaid(database)).some((one) => one.workerId === workerId)
        if (stands && !(await hasOpenAppeal(database, workerId))) await work()
      }),
    onProblem: trouble('held earnings could not be moved'),
  })
}

async function hasOpenAppeal({ sql }: Database, workerId: string): Promise<boolean> {
  const open = await sql`select from appeals where worker_id = ${workerId} and outcome is null`
  return open.length > 0
}

interface Conviction {
  readonly workerId: string
  readonly because: string
  readonly at: number
}

/** Of workers that stand convicted with some model and were paid since, once their slash was carried out; the last one of each. */
export async function convictionsPaid({ sql }: Database): Promise<Conviction[]> {
  return sql<Conviction[]>`
    select distinct on (a.worker_id) a.worker_id as "workerId", a.because, a.done_at as at
      from standing_acts a
      join standings s on (s.worker_id, s.model, s.duty) = (a.worker_id, a.model, a.duty)
      join accounts h on h.name = 'held:' || a.worker_id
     where a.act = 'slash' and a.duty = 'serve' and a.done_at is not null and s.phase = 'convicted' and h.posted > h.held
     order by a.worker_id, a.decided_at desc`
}

/**
 * What looking at a worker's answers has cost: half the mean price of its latest answers for each clean check on record. A check costs 0.34 to
 * 0.58 of a generation (`npm run bench:verify-engine`); 60 hundredths of a price are the worker's.
 */
async function checksCost({ sql }: Database, workerId: string): Promise<bigint> {
  const [row] = await sql<{ cost: bigint }[]>`
    select (coalesce((select sum(clean) from standings where worker_id = ${workerId} and duty = 'serve'), 0)
            * coalesce((select avg(e.amount) from (
                select e.amount from entries e join accounts a on a.id = e.account
                 where a.name = ${`held:${workerId}`} and e.amount > 0 order by e.seq desc limit 200) e), 0)
            * 100 / 60 / 2)::bigint as cost`
  return row?.cost ?? 0n
}
