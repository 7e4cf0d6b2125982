import { decodeSigned, type SignatureChecker } from '#protocol'
import { type Sql, texts } from '#storage'
import { isSignedBy } from './audit-mutual-looks.ts'
import { verificationLimits } from './limits.ts'
import { type Rate, RateTable } from './rates.ts'

/** That whoever is said to have looked at these checks has signed for it. The first that is wrong, in a sentence. */
export async function wrongLook(
  sql: Sql,
  checkIds: readonly string[],
  checker: SignatureChecker,
): Promise<string | undefined> {
  const rows = await sql<{ checkId: string; verifier: string; commitment: Buffer }[]>`
    select check_id as "checkId", verifier, commitment from looks where check_id::text = any (${texts([...checkIds])}::text[])`
  for (const { checkId, verifier, commitment } of rows) {
    if (!isSignedBy(commitment, verifier, checker)) {
      return `Worker ${verifier} has not signed for its look at check ${checkId}.`
    }
  }
  return undefined
}

/** Each answers what should not exist, as one sentence without its end. */
export const trialRules: readonly string[] = [
  `select 'Check ' || c.id || ' is not what its first look says' from checks c
    where c.state in ('clean', 'hit') and not exists (
      select from looks l where l.check_id = c.id and l.purpose in ('first', 'reference')
         and l.verifier = c.verifier and l.score = c.score)`,
  `select 'Check ' || c.id || ' is a hit that nobody confirmed' from checks c
    where c.state = 'hit' and not exists (
      select from looks l where l.check_id = c.id and l.says = 'hit' and l.purpose in ('first', 'second', 'reference')
      having bool_or(l.operator = 'self') or count(distinct l.operator) >= 2)`,
  `select 'Check ' || c.id || ' is clean, and those who looked say otherwise' from checks c
    where c.state = 'clean' and not exists (
      select from looks l where l.check_id = c.id and l.says = 'clean' and l.purpose in ('first', 'second', 'reference')
      having bool_or(l.operator = 'self' or l.verifier = c.verifier) or count(distinct l.operator) >= 2)`,
  `select 'The verdict of check ' || v.check_id || ' is about a check that does not exist' from verdicts v
    where not exists (select from checks c where c.id = v.check_id and c.job_id = v.job_id)`,
  `select 'Tribunal ' || t.id || ' was called by no decision' from tribunals t
    where not exists (
      select from standing_acts a where a.id = t.id and a.act = 'call_tribunal'
         and (a.worker_id, a.model, a.duty) = (t.worker_id, t.model, t.duty))`,
  `select 'Tribunal ' || t.id || ' ended as ' || t.outcome || ', and its votes say otherwise' from tribunals t
    where t.outcome <> 'void' and (t.outcome <> 'clean') is distinct from (
      select 2 * count(*) filter (where v ->> 'says' = 'hit') > count(*) from jsonb_array_elements(t.votes) v)`,
  `select 'Tribunal ' || t.id || ' counts the vote of ' || (v ->> 'verifier') || ', who never looked'
     from tribunals t, jsonb_array_elements(t.votes) v
    where not exists (
      select from looks l join checks c on c.id = l.check_id
       where l.purpose = 'tribunal' and l.verifier = v ->> 'verifier' and c.worker_id = t.worker_id)`,
  `select 'Worker ' || f.worker_id || ' was given a fresh start that no act of the log tells of' from fresh_starts f
    group by f.worker_id having count(*) > (
      select count(*) from acts t
       where t.subject = 'worker:' || f.worker_id and t.action in ('worker.reset', 'worker.appeal_granted'))`,
  `select 'Tribunal ' || t.id || ' was forestalled, and no fresh start of its worker says so' from tribunals t
    where t.outcome = 'void' and not exists (
      select from fresh_starts f where f.worker_id = t.worker_id and f.at = t.ended_at)`,
  `select 'Worker ' || a.worker_id || ' was slashed because of ' || a.because || ', which convicts nobody' from standing_acts a
    where a.act = 'slash' and not exists (
      select from tribunals t where t.id::text = a.because and t.worker_id = a.worker_id and t.outcome in ('hit', 'refuted'))`,
  `select 'Worker ' || s.worker_id || ' has ' || s.clean || ' clean checks on record, and fewer were made' from standings s
    where s.duty = 'serve' and s.clean > (
      select count(*) from checks c where c.worker_id = s.worker_id and c.model = s.model and c.state = 'clean')`,
]

/** That tables of check rates are those orders name by their root: the newest ones. */
export async function wrongRates(sql: Sql): Promise<string | undefined> {
  const rows = await sql<{ root: Buffer; rates: string }[]>`
    select root, rates::text as rates from rate_tables order by used_at desc limit ${verificationLimits.auditedRatesMax}`
  for (const { root, rates } of rows) {
    if (!new RateTable(JSON.parse(rates) as Rate[]).root.equals(root)) {
      return `The check rates ${root.toString('hex')} are not those that orders name.`
    }
  }
  return undefined
}

/** That every slash and refund names the decision it follows from. */
export async function wrongSentence(sql: Sql): Promise<string | undefined> {
  for (let after = '00000000-0000-0000-0000-000000000000'; ; ) {
    const rows = await sql<{ id: string; authorisation: Buffer }[]>`
      select id, authorisation from transfers
       where kind in ('slash', 'refund') and authorisation is not null and id > ${after}::uuid order by id limit 500`
    for (const { id, authorisation } of rows) {
      const decoded = decodeSigned(authorisation, 'move/1')
      if (!decoded.ok) return `Transfer ${id} is asked for by nothing that can be read.`
      const { worker, because } = decoded.signed.message
      const [found] = await sql`
        select 1 from standing_acts
         where worker_id = ${worker?.toString('hex') ?? ''} and because = ${because} and act in ('slash', 'refund_users') limit 1`
      if (!found) return `Transfer ${id} follows from ${because}, and nothing on record convicted anybody by that.`
    }
    const last = rows.at(-1)
    if (!last) return undefined
    after = last.id
  }
}
