import { sha256 } from '#crypto'
import type { Identity } from '#identity'
import { Earnings, ledgerStage, transferLeaf } from '#ledger'
import type { TransparencyLog } from '#log'
import { PoolError } from '#protocol'
import { type Database, type GroupCommit, part } from '#storage'
import { deterrenceDefaults, refuseProfitable, type Standings } from '#verification'
import type { Ground } from './open-rooms.ts'

interface Needs extends Pick<Ground, 'settings' | 'runtime' | 'trouble' | 'pool' | 'database'> {
  readonly identity: Identity
  readonly commit: GroupCommit
  readonly transparency: TransparencyLog
  readonly standings: Standings
  readonly isOwn: (workerId: string) => boolean
}

/** What workers earn, until it is theirs. @throws PoolError config_invalid when cheating would pay. */
export function openEarnings(needs: Needs): Earnings {
  const { settings, runtime, trouble, pool, database, identity, commit, transparency, standings, isOwn } = needs
  const profitable = refuseProfitable({ ...deterrenceDefaults, heldPrices: settings.holdPayments })
  if (profitable) {
    const fix = `${profitable.fix} Set hold_payments to ${profitable.needed} or more.`
    throw new PoolError('config_invalid', profitable.message, fix)
  }
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
    hasOpenAppeal: async (workerId) => {
      const open = await database.sql`select from appeals where worker_id = ${workerId} and outcome is null`
      return open.length > 0
    },
    onProblem: trouble('held earnings could not be moved'),
  })
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
