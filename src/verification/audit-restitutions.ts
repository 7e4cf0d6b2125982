import { decodeSigned } from '#protocol'
import type { Sql } from '#storage'

/** A transfer that took from a worker or gave back to one, with its place in the log (null: none). */
export interface MovedOnRecord {
  readonly id: string
  /** The signed `move/1` in wire form; other slashes and refunds are nobody's. */
  readonly authorisation: Buffer
  readonly leaf: number | null
}

/** A granted appeal; `paid`: what was due was carried out; `leaf`: where the log tells that it was made (null: nowhere). */
export interface GrantedAppeal {
  readonly id: string
  readonly workerId: string
  readonly paid: boolean
  readonly leaf: number | null
}

/**
 * What went back to workers, against what was taken from them, micro-credits: each restitution names a granted appeal of
 * its worker; of no account more went back than was taken; and once a granted appeal is carried out, all is back that was taken
 * before the appeal was made. The order is the log's, not a clock's. The first that is wrong, in a sentence.
 */
export function judgeRestitutions(
  moved: readonly MovedOnRecord[],
  appeals: readonly GrantedAppeal[],
): string | undefined {
  const granted = new Set(appeals.map(({ id, workerId }) => `${id} ${workerId}`))
  const taken: { account: string; amount: bigint; leaf: number | null }[] = []
  const returned = new Map<string, { amount: bigint; last: string }>()
  for (const { id, authorisation, leaf } of moved) {
    const decoded = decodeSigned(authorisation, 'move/1')
    const move = decoded.ok ? decoded.signed.message : undefined
    const worker = move?.worker?.toString('hex')
    if (move?.kind === 'restitution') {
      if (!granted.has(`${move.because} ${worker}`)) return `Transfer ${id} gives back what no granted appeal names.`
      const account = `${worker} ${move.to.replace(/^worker:/, 'held:')}`
      returned.set(account, { amount: (returned.get(account)?.amount ?? 0n) + move.amount, last: id })
    } else if (move && worker && /^(held|stake):/.test(move.from)) {
      taken.push({ account: `${worker} ${move.from}`, amount: move.amount, leaf })
    }
  }
  const sum = (of: typeof taken) => of.reduce((total, { amount }) => total + amount, 0n)
  for (const [account, { amount, last }] of returned) {
    const was = sum(taken.filter((one) => one.account === account))
    if (amount > was) return `Transfer ${last} gives back more than was taken: ${amount} of ${was} micro-credits.`
  }
  for (const { id, workerId, paid, leaf: made } of appeals) {
    if (!paid || made === null) continue
    const before = taken.filter(
      ({ account, leaf }) => account.startsWith(`${workerId} `) && leaf !== null && leaf < made,
    )
    for (const account of new Set(before.map((one) => one.account))) {
      const was = sum(before.filter((one) => one.account === account))
      const back = returned.get(account)?.amount ?? 0n
      if (back < was) return `Appeal ${id} is granted, and only ${back} of ${was} micro-credits went back.`
    }
  }
  return undefined
}

/** What went back to workers, against granted appeals and what was taken. */
export async function wrongRestitution(sql: Sql): Promise<string | undefined> {
  const appeals = await sql<GrantedAppeal[]>`
    select a.id, a.worker_id as "workerId",
           exists (select from standing_acts s where s.act = 'pay_back' and s.because = a.id::text and s.done_at is not null) as paid,
           (select min(l.index)::float8 from acts t join log_leaves l on l.kind = 'act' and l.ref = t.seq::text
             where t.action = 'worker.appeal' and t.details ->> 'appeal' = a.id::text) as leaf
      from appeals a where a.outcome = 'granted'`
  const moved = await sql<MovedOnRecord[]>`
    select t.id, t.authorisation, l.index::float8 as leaf
      from transfers t left join log_leaves l on l.kind = 'transfer' and l.ref = t.id::text
     where t.kind in ('slash', 'refund', 'restitution')`
  return judgeRestitutions(moved, appeals)
}
