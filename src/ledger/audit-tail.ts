import { leafHash } from '#crypto'
import type { LoggedLeaf } from '#log'
import type { Sql } from '#storage'
import { firstProblem } from './first-problem.ts'
import { readTransfers } from './read-transfers.ts'
import { leafOfRow } from './transfer-leaf.ts'

const uuidPattern = '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'

/** Transfers whose leaves stand at `$1` or behind; entries that are not older than they are. */
const tail = `
  tail as materialized (
    select t.* from log_leaves l
      join transfers t on t.id = case when l.ref ~ '${uuidPattern}' then l.ref::uuid end
     where l.index >= $1 and l.kind = 'transfer'),
  recent as materialized (
    select e.* from accounts a
     cross join lateral first_entry_since(a.id, (select coalesce(min(at), 'infinity') from tail)) f (seq)
      join entries e on e.account = a.id and e.seq >= f.seq)`

/** As in the whole audit, for what came since. */
const checks: readonly string[] = [
  `with ${tail}, leg as (
     select id, debit as account, -amount as amount from tail where cardinality(credits) > 0
     union all
     select t.id, t.credits[n][1], t.credits[n][2]
       from tail t, generate_series(1, coalesce(array_length(t.credits, 1), 0)) n),
   said as (select id, account, sum(amount) as amount, count(*) as n from leg group by 1, 2),
   entered as (select transfer as id, account, sum(amount) as amount, count(*) as n from recent group by 1, 2)
   select case when e.id is null then 'transfer ' || s.id || ' left no entry in account ' || s.account
               else 'the entries of transfer ' || s.id || ' in account ' || s.account || ' differ from its legs' end
     from said s left join entered e on e.id = s.id and e.account = s.account
    where e.id is null or s.amount <> e.amount or s.n <> e.n`,
  `with ${tail}
   select 'the legs of transfer ' || t.id || ' do not sum to its amount' from tail t
    where t.phase in ('posted', 'direct')
      and t.amount <> (select coalesce(sum(t.credits[n][2]), 0) from generate_series(1, coalesce(array_length(t.credits, 1), 0)) n)`,
  `with ${tail}
   select 'transfer ' || r.id || ' does not resolve a hold of the same account within its amount' from tail r
    where r.hold is not null
      and not exists (select from transfers h where h.id = r.hold and h.phase = 'pending' and h.debit = r.debit and r.amount <= h.amount)`,
  `with ${tail}
   select 'entry ' || e.seq || ' of account ' || a.name || ' does not follow from the one before it'
     from recent e join accounts a on a.id = e.account
     left join entries b on b.account = e.account and b.seq = e.seq - 1
     left join transfers t on t.id = e.transfer
    where e.balance <> coalesce(b.balance, 0) + e.amount or (e.seq > 1 and b.seq is null) or t.id is null
       or e.at <> greatest(t.at, coalesce(b.at, 'epoch'))`,
]

/** What holds of the books as they stand, whenever they were written; quick, because history is not read. */
const standing: readonly string[] = [
  `select 'account ' || a.name || ' says ' || a.posted || ' where its last entry says ' || coalesce(e.balance, 0)
     from accounts a left join entries e on e.account = a.id and e.seq = a.seq
    where a.posted <> coalesce(e.balance, 0) or a.last_at <> coalesce(e.at, 'epoch')
       or exists (select from entries o where o.account = a.id and o.seq > a.seq)`,
  `select 'all accounts together hold ' || sum(posted) || ' instead of 0' from accounts having sum(posted) <> 0`,
  `select 'hold ' || o.id || ' is open without a transfer that opened it, or after it was resolved' from holds o
    where not exists (select from transfers p where p.id = o.id and p.phase = 'pending' and p.debit = o.account and p.amount = o.amount)
       or exists (select from transfers r where r.hold = o.id)`,
  `select 'account ' || a.name || ' holds ' || a.held || ' where its open holds sum to ' || coalesce(h.total, 0)
     from accounts a left join (select account, sum(amount) as total from holds group by 1) h on h.account = a.id
    where a.held <> coalesce(h.total, 0)`,
]

/** Transfers these leaves commit to, each against its leaf. The first that is wrong, in a sentence. */
export async function auditTransferLeaves(sql: Sql, leaves: readonly LoggedLeaf[]): Promise<string | undefined> {
  const ours = leaves.filter(({ kind }) => kind === 'transfer')
  const pattern = new RegExp(uuidPattern)
  const rows = await readTransfers(
    sql,
    ours.map(({ ref }) => ref).filter((ref) => pattern.test(ref)),
  )
  for (const { index, ref, hash } of ours) {
    const row = rows.get(ref)
    if (!row) return `Leaf ${index} of the log commits to transfer ${ref}, which is gone.`
    if (!leafHash(leafOfRow(row)).equals(hash)) return `Transfer ${ref} is not what the log committed to.`
  }
  return undefined
}

/** The books since leaf `from`, and as they stand. What came before is taken as an earlier audit found it. */
export async function auditLedgerSince(sql: Sql, from: number): Promise<string | undefined> {
  return (await firstProblem(sql, checks, from)) ?? (await firstProblem(sql, standing))
}
