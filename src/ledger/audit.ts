import { leafHash } from '#crypto'
import type { Sql } from '#storage'
import { derivedChecks } from './derived-checks.ts'
import { firstProblem } from './first-problem.ts'
import { ledgerLimits } from './limits.ts'
import { scanTransfers } from './read-transfers.ts'
import { leafOfRow, type TransferRow } from './transfer-leaf.ts'

/** The first thing that is wrong, in a sentence; or how much was looked at. */
export type LedgerAudit =
  | { readonly ok: true; readonly transfers: number; readonly accounts: number }
  | { readonly ok: false; readonly problem: string }

/**
 * Each answers rows that should not exist, as `problem`: one sentence. Order: a history that cannot have come from
 * ledger_write is found before the balances it would explain.
 */
const checks: readonly string[] = [
  // a transfer and its legs
  `select 'transfer ' || t.id || ' names an account that does not exist' as problem from transfers t
    where not exists (select from accounts a where a.id = t.debit)
       or exists (select from generate_series(1, coalesce(array_length(t.credits, 1), 0)) n
                   where not exists (select from accounts a where a.id = t.credits[n][1]))`,
  `select 'the legs of transfer ' || t.id || ' do not sum to its amount' from transfers t
    where t.phase in ('posted', 'direct')
      and t.amount <> (select coalesce(sum(t.credits[n][2]), 0) from generate_series(1, coalesce(array_length(t.credits, 1), 0)) n)`,
  `select 'transfer ' || t.id || ' is ' || t.phase || ' and yet pays somebody' from transfers t
    where t.phase not in ('posted', 'direct') and cardinality(t.credits) > 0`,
  // entries against transfers, both ways
  `with leg as (
     select t.id, t.debit as account, -t.amount as amount from transfers t where cardinality(t.credits) > 0
     union all
     select t.id, t.credits[n][1], t.credits[n][2]
       from transfers t, generate_series(1, coalesce(array_length(t.credits, 1), 0)) n),
   said as (select id, account, sum(amount) as amount, count(*) as n from leg group by 1, 2),
   entered as (select transfer as id, account, sum(amount) as amount, count(*) as n from entries group by 1, 2)
   select case when s.id is null then 'entries of account ' || e.account || ' name transfer ' || e.id || ', which does not say so'
               when e.id is null then 'transfer ' || s.id || ' left no entry in account ' || s.account
               else 'the entries of transfer ' || s.id || ' in account ' || s.account || ' differ from its legs' end
     from said s full join entered e on e.id = s.id and e.account = s.account
    where s.id is null or e.id is null or s.amount <> e.amount or s.n <> e.n`,
  // an account's own chain of entries
  `select 'entry ' || c.seq || ' of account ' || coalesce(a.name, c.account::text) || ' does not follow from the one before it'
     from (select account, seq, amount, balance, at, row_number() over w as n,
                  coalesce(lag(balance) over w, 0) as before, lag(at) over w as earlier
             from entries window w as (partition by account order by seq)) c
     left join accounts a on a.id = c.account
    where c.seq <> c.n or c.balance <> c.before + c.amount or c.at < c.earlier`,
  `select 'account ' || a.name || ' says ' || a.posted || ' where its history says ' || coalesce(e.total, 0)
     from accounts a left join (select account, sum(amount) as total, count(*) as n from entries group by 1) e on e.account = a.id
    where a.posted <> coalesce(e.total, 0) or a.seq <> coalesce(e.n, 0)`,
  `select 'all accounts together hold ' || sum(posted) || ' instead of 0' from accounts having sum(posted) <> 0`,
  `select 'account ' || name || ' is below its floor' from accounts where posted - held < floor`,
  `select 'account ' || name || ' has a kind or a floor its name does not stand for' from accounts
    where kind <> split_part(name, ':', 1)
       or floor <> floor_of(kind)`,
  // holds and their resolutions
  `select 'transfer ' || r.id || ' resolves ' || r.hold || ', which is no hold of the same account' from transfers r
    where r.hold is not null
      and not exists (select from transfers h where h.id = r.hold and h.phase = 'pending' and h.debit = r.debit)`,
  `select 'hold ' || r.hold || ' was resolved twice' from transfers r where r.hold is not null group by r.hold having count(*) > 1`,
  `select 'transfer ' || r.id || ' posts more than was held' from transfers r join transfers h on h.id = r.hold
    where r.amount > h.amount`,
  `select 'hold ' || r.hold || ' expired before its time' from transfers r join transfers h on h.id = r.hold
    where r.phase = 'expired' and r.at < h.expires_at`,
  `select case when o.id is null then 'hold ' || p.id || ' is neither open nor resolved'
               when p.id is null then 'hold ' || o.id || ' is open without a transfer that opened it, or after it was resolved'
               else 'hold ' || p.id || ' differs from the transfer that opened it' end
     from (select t.* from transfers t where t.phase = 'pending'
              and not exists (select from transfers r where r.hold = t.id)) p
     full join holds o on o.id = p.id
    where o.id is null or p.id is null
       or (o.account, o.amount, o.expires_at, o.tokens) is distinct from (p.debit, p.amount, p.expires_at, p.tokens)
       or o.key is distinct from p.key`,
  `select 'account ' || a.name || ' holds ' || a.held || ' where its open holds sum to ' || coalesce(h.total, 0)
     from accounts a left join (select account, sum(amount) as total from holds group by 1) h on h.account = a.id
    where a.held <> coalesce(h.total, 0)`,
  // what keys have used
  `select 'the budget of key ' || coalesce(b.key, u.key) || ' differs from what the key has used'
     from budgets b
     full join (select h.key, sum(coalesce(r.amount, 0)) as spent, sum(h.amount) filter (where r.id is null) as reserved
                  from transfers h left join transfers r on r.hold = h.id
                 where h.phase = 'pending' and h.key is not null group by 1) u on u.key = b.key
    where b.spent is distinct from coalesce(u.spent, 0) or b.reserved is distinct from coalesce(u.reserved, 0)`,
  // the only money from nowhere
  `select 'transfer ' || t.id || ' is a ' || t.kind || ' that does not come out of issuance' from transfers t
     join accounts a on a.id = t.debit
    where (t.kind in ('grant', 'bootstrap')) <> (a.kind = 'issuance')`,
  `select 'leaf ' || l.index || ' of the log commits to transfer ' || l.ref || ', which is gone' from log_leaves l
    where l.kind = 'transfer' and not exists (select from transfers t where t.id::text = l.ref)`,
]

/**
 * Recomputes the ledger from its history and compares every transfer with its leaf in the log. For one state of the
 * database give a transaction that is `repeatable read`.
 */
export async function auditLedger(sql: Sql): Promise<LedgerAudit> {
  const problem = await firstProblem(sql, checks)
  if (problem !== undefined) return { ok: false, problem }
  const leaves = await auditLeaves(sql)
  if (typeof leaves === 'string') return { ok: false, problem: leaves }
  const derived = await firstProblem(sql, derivedChecks)
  if (derived !== undefined) return { ok: false, problem: derived }
  const [count] = await sql<{ n: number }[]>`select count(*)::int as n from accounts`
  return { ok: true, transfers: leaves, accounts: count?.n ?? 0 }
}

/** The leaf of every transfer, made again from its row. How many there are, or the first that is wrong. */
async function auditLeaves(sql: Sql): Promise<number | string> {
  let count = 0
  for (let after: string | null = null; ; ) {
    const page = await scanTransfers(sql, after, ledgerLimits.scanRowsMax)
    const wrong = await firstUnlogged(sql, page)
    if (wrong) return wrong
    count += page.length
    if (page.length < ledgerLimits.scanRowsMax) return count
    after = page.at(-1)?.id ?? after
  }
}

async function firstUnlogged(sql: Sql, page: readonly TransferRow[]): Promise<string | undefined> {
  const rows = await sql<{ ref: string; hash: Buffer }[]>`
    select ref, hash from log_leaves
     where kind = 'transfer' and ref = any (${page.map((row) => row.id)}::text[])`
  const hashes = new Map(rows.map(({ ref, hash }) => [ref, hash]))
  for (const row of page) {
    const hash = hashes.get(row.id)
    if (!hash) return `Transfer ${row.id} is not in the log.`
    if (!hash.equals(leafHash(leafOfRow(row)))) return `Transfer ${row.id} is not what the log committed to.`
  }
  return undefined
}
