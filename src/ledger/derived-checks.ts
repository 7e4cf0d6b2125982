import type { Sql } from '#storage'
import { firstProblem } from './first-problem.ts'

/**
 * What each key used in the latest day and minute it was used in. A window only goes forward, and an operation may be applied up to a minute
 * after its time (a database that was away), or by a process whose clock differs: what was held in the minute before a window began may
 * or may not be counted in it (`least` without, `most` with).
 */
const used = `
  used as (
    select b.key, max(h.minute) as newest,
           coalesce(sum(h.money) filter (where h.minute / 1440 = b.day), 0) as least_money,
           coalesce(sum(h.money) filter (where h.minute / 1440 = b.day or h.minute = b.day * 1440 - 1), 0) as most_money,
           count(*) filter (where h.minute = b.minute) as least_requests,
           count(*) filter (where h.minute between b.minute - 1 and b.minute) as most_requests,
           coalesce(sum(h.tokens) filter (where h.minute = b.minute), 0) as least_tokens,
           coalesce(sum(h.tokens) filter (where h.minute between b.minute - 1 and b.minute), 0) as most_tokens
      from budgets b
      join (select p.key, floor(extract(epoch from p.at) / 60)::int as minute, coalesce(r.amount, p.amount) as money,
                   case when r.id is null then p.tokens else least(p.tokens, r.tokens) end as tokens
              from transfers p left join transfers r on r.hold = p.id where p.phase = 'pending') h on h.key = b.key
     group by b.key)`

/** Each answers rows that should not exist; see the checks of the audit. */
const windowChecks: readonly string[] = [
  `with ${used}
   select case when u.key is null then 'the budget of key ' || b.key || ' is there and the key was never used'
               else 'the budget of key ' || b.key || ' counts other uses in its last day or minute than were made' end
     from budgets b left join used u on u.key = b.key
    where u.key is null or b.minute < u.newest or b.day <> b.minute / 1440
       or b.day_used not between u.least_money and u.most_money
       or b.requests not between u.least_requests and u.most_requests
       or b.tokens not between u.least_tokens and u.most_tokens`,
  `select 'hold ' || o.id || ' counts in another day or minute of its key than it was taken in'
     from holds o join transfers p on p.id = o.id left join budgets b on b.key = o.key
    where case when o.key is null then o.day <> 0 or o.minute <> 0
               else o.day not between floor(extract(epoch from p.at) / 86400) and b.day
                 or o.minute not between floor(extract(epoch from p.at) / 60) and b.minute end`,
]

/** What acts say was set, a row for each unit; and what was, numbered where the same was set twice. */
const prices = `
  said as (
    select a.seq, a.actor, substr(a.subject, 7) as model, u.unit, a.details ->> u.unit as amount,
           (a.details ->> 'valid_from')::timestamptz as since,
           row_number() over (partition by a.actor, a.subject, u.unit, a.details ->> u.unit, a.details ->> 'valid_from'
                              order by a.seq) as nth
      from acts a, (values ('prompt_token'), ('completion_token'), ('cpu_100ms')) u (unit)
     where a.action = 'price.set' and a.details ? u.unit),
  kept as (
    select p.*, row_number() over (partition by model, unit, amount, valid_from, set_by order by seq) as nth
      from prices p where set_by <> 'default')`

const same = `s.nth = p.nth and s.actor = p.set_by and s.model = p.model and s.unit = p.unit
          and s.amount = p.amount::text and s.since = p.valid_from`

/** Three prices every pool begins with; each later one was set by an act that says the same. */
const priceChecks: readonly string[] = [
  `select 'price ' || coalesce(p.seq, d.n) || ' is not the one every pool begins with'
     from (select * from prices where set_by = 'default') p
     full join (values (1, 'prompt_token', 100), (2, 'completion_token', 400), (3, 'cpu_100ms', 1000000)) d (n, unit, amount)
       on p.seq = d.n and p.model = '*' and p.unit = d.unit and p.amount = d.amount and p.valid_from = 'epoch'
    where p.seq is null or d.n is null`,
  `with ${prices}
   select 'price ' || p.seq || ' was set by nobody' from kept p left join said s on ${same} where s.seq is null`,
  `with ${prices}
   select 'act ' || s.seq || ' set a price that is gone' from said s left join kept p on ${same} where p.seq is null`,
]

/** The price list against the acts that made it. The first that is wrong, in a sentence. */
export function auditPrices(sql: Sql): Promise<string | undefined> {
  return firstProblem(sql, priceChecks)
}

/** What is kept beside history so that it need not be read. Asked last: where history itself is wrong, that is said. */
export const derivedChecks: readonly string[] = [
  `select 'entry ' || c.seq || ' of account ' || a.name || ' has another time than its transfer'
     from (select account, seq, transfer, at, lag(at) over (partition by account order by seq) as earlier from entries) c
     join accounts a on a.id = c.account join transfers t on t.id = c.transfer
    where c.at <> greatest(t.at, coalesce(c.earlier, 'epoch'))`,
  `select 'account ' || a.name || ' has another last time than its last entry'
     from accounts a left join entries e on e.account = a.id and e.seq = a.seq
    where a.last_at <> coalesce(e.at, 'epoch')`,
  ...windowChecks,
]
