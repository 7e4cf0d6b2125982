import { sha256 } from '#crypto'
import type { Sql } from '#storage'

/** What acts and rows of this room say together. */
export interface IdentityAudit {
  /** The first that is wrong, in a sentence. */
  readonly problem: string | undefined
  /** Hex public keys of every admin there ever was. */
  readonly adminKeys: ReadonlySet<string>
  /** Hex public keys an account (`user:<uuid>`) ever paid with. */
  readonly payerKeys: (account: string) => ReadonlySet<string>
}

/**
 * Each answers what should not exist, as one sentence without its end. Only the first user, the `owner` that a
 * new database begins with, was made by no act.
 */
const checks: readonly string[] = [
  `select 'User ' || u.name || ' was made by nobody' from users u
    where u.id <> (select id from users order by id limit 1)
      and not exists (select from acts a where a.action = 'user.create' and a.subject = 'user:' || u.id)`,
  `with told as (
     select distinct on (subject) subject, details ->> 'name' as name from acts
      where action in ('user.create', 'user.role', 'user.disable', 'user.enable', 'user.payer_key')
      order by subject, seq desc)
   select 'The name of user ' || u.name || ' was changed by nobody'
     from users u left join told t on 'user:' || u.id = t.subject where u.name <> coalesce(t.name, 'owner')`,
  `with told as (
     select distinct on (subject) subject, details ->> 'role' as role from acts
      where action in ('user.create', 'user.role') order by subject, seq desc)
   select 'The role of user ' || u.name || ' was changed by nobody' as problem
     from users u left join told t on 'user:' || u.id = t.subject where u.role <> coalesce(t.role, 'owner')`,
  `with told as (
     select distinct on (subject) subject, details ->> 'payer_key' as key from acts
      where action in ('user.create', 'user.payer_key') order by subject, seq desc)
   select 'The payer key of user ' || u.name || ' was changed by nobody'
     from users u left join told t on 'user:' || u.id = t.subject
    where encode(u.payer_key, 'hex') is distinct from t.key`,
  `with told as (
     select distinct on (subject) subject, action from acts
      where action in ('user.create', 'user.disable', 'user.enable') order by subject, seq desc)
   select 'User ' || u.name || ' was ' || case when u.disabled_at is null then 'enabled' else 'disabled' end || ' by nobody'
     from users u left join told t on 'user:' || u.id = t.subject
    where (u.disabled_at is not null) <> (coalesce(t.action, '') = 'user.disable')`,
  `select 'User ' || (a.details ->> 'name') || ' was made by act ' || a.seq || ' and is gone' from acts a
    where a.action = 'user.create' and not exists (select from users u where 'user:' || u.id = a.subject)`,
  `with told as (
     select distinct on (subject) seq, subject, details from acts
      where action in ('key.create', 'key.set') order by subject, seq desc)
   select 'API key ' || substr(t.subject, 5) || ' is not what act ' || t.seq || ' made it'
     from told t left join api_keys k on 'key:' || k.id = t.subject left join users u on u.id = k.user_id
    where k.id is null
       or (k.name, u.name, encode(k.key_hash, 'hex'), k.role, k.budget_total::text, k.budget_per_day::text,
           k.payer_signature, k.requests_per_minute::text, k.tokens_per_minute::text, k.weight,
           k.assurance, k.privacy, k.forwarding, k.required_workers::text,
           (extract(epoch from k.expires_at) * 1000)::bigint::text)
          is distinct from
          (t.details ->> 'name', t.details ->> 'user', t.details ->> 'key_hash', t.details ->> 'role',
           t.details ->> 'budget_total', t.details ->> 'budget_per_day',
           t.details ->> 'payer_signature', t.details ->> 'requests_per_minute', t.details ->> 'tokens_per_minute',
           (t.details ->> 'weight')::float8,
           t.details ->> 'assurance', coalesce(t.details ->> 'privacy', 'standard'),
           coalesce((t.details ->> 'forwarding')::boolean, true), t.details ->> 'required_workers', t.details ->> 'expires_at')
       or (coalesce(cardinality(k.models), 0) <= 32 and coalesce(to_jsonb(k.models), 'null') <> t.details -> 'models')`,
  `select 'API key ' || k.id || ' was made by nobody' from api_keys k
    where not exists (select from acts a where a.action = 'key.create' and a.subject = 'key:' || k.id)`,
  `select 'API key ' || k.id || ' was ' || case when k.revoked_at is null then 'brought back' else 'revoked' end || ' by nobody'
     from api_keys k
    where (k.revoked_at is not null) <>
          exists (select from acts a where a.action = 'key.revoke' and a.subject = 'key:' || k.id)`,
  `select 'Admin key ' || left(coalesce(k.id, substr(a.subject, 11)), 12) || ' was ' ||
          case when k.id is null then 'forgotten' else 'added' end || ' by nobody'
     from admin_keys k
     full join (select * from acts where action = 'admin_key.add') a
       on a.subject = 'admin-key:' || k.id and a.details ->> 'public_key' = encode(k.public_key, 'hex')
    where k.id is null or a.seq is null`,
  `select 'Admin key ' || left(k.id, 12) || ' was ' || case when k.revoked_at is null then 'brought back' else 'revoked' end || ' by nobody'
     from admin_keys k
    where (k.revoked_at is not null) <>
          exists (select from acts a where a.action = 'admin_key.revoke' and a.subject = 'admin-key:' || k.id)`,
  `with told as (
     select distinct on (subject) seq, subject, action, details ->> 'expires_at' as expires from acts
      where action in ('worker.approve', 'worker.renew', 'worker.revoke') order by subject, seq desc)
   select 'Worker ' || left(substr(t.subject, 8), 12) || ' is not as act ' || t.seq || ' left it'
     from told t left join worker_keys w on 'worker:' || w.id = t.subject
    where w.id is null or (w.standing = 'revoked') <> (t.action = 'worker.revoke')
       or (extract(epoch from w.expires_at) * 1000)::bigint::text is distinct from t.expires`,
  `select 'Worker ' || left(w.id, 12) || ' was let in by nobody' from worker_keys w
    where w.standing = 'approved'
      and not exists (select from acts a where a.action in ('worker.approve', 'worker.renew') and a.subject = 'worker:' || w.id)`,
  `with told as (
     select distinct on (subject) seq, subject, details ->> 'operator' as operator from acts
      where action in ('worker.approve', 'worker.renew', 'worker.revoke') order by subject, seq desc)
   select 'Worker ' || left(w.id, 12) || ' belongs to another operator than act ' || t.seq || ' says'
     from told t join worker_keys w on 'worker:' || w.id = t.subject left join operators o on o.id = w.operator_id
    where o.name is distinct from t.operator`,
  `with told as (
     select distinct on (subject) subject, action, actor, details ->> 'because' as because from acts
      where action in ('worker.block', 'worker.unblock', 'address.block', 'address.unblock') order by subject, seq desc),
   stands as (select kind || ':' || subject as subject, because, by_whom from blocks where lifted_at is null)
   select 'The block of ' || coalesce(s.subject, t.subject) || ' was ' ||
          case when s.subject is null then 'lifted' when t.action like '%.block' then 'changed' else 'made' end || ' by nobody'
     from (select * from told where action like '%.block') t full join stands s on s.subject = t.subject
    where s.subject is null or (s.because, s.by_whom) is distinct from (t.because, t.actor)`,
  `with told as (
     select subject, count(*) filter (where action like '%.block') as made,
            count(*) filter (where action like '%.unblock') as lifted
       from acts where action in ('worker.block', 'worker.unblock', 'address.block', 'address.unblock') group by 1),
   kept as (select kind || ':' || subject as subject, count(*) as made, count(lifted_at) as lifted from blocks group by 1)
   select coalesce(k.subject, t.subject) || ' has ' || coalesce(k.made, 0) || ' blocks on record, and acts tell of ' || coalesce(t.made, 0)
     from told t full join kept k on k.subject = t.subject where (k.made, k.lifted) is distinct from (t.made, t.lifted)`,
  `select 'The block of address:' || b.subject || ' keeps out another network' from blocks b
    where b.kind = 'address' and b.network::text <> b.subject`,
  `with told as (
     select distinct on (subject) subject, action, details ->> 'because' as because from acts
      where action in ('operator.block', 'operator.unblock') order by subject, seq desc)
   select 'Operator ' || coalesce(o.name, t.subject) || ' was ' ||
          case when o.blocked_at is null then 'unblocked' else 'blocked' end || ' by nobody'
     from operators o full join (select * from told where action = 'operator.block') t on t.subject = 'operator:' || o.id
    where (o.blocked_at is not null) <> (t.subject is not null) or o.blocked_because is distinct from t.because`,
]

/** Users, API keys, admin keys and workers against the acts that made and changed them, as far as acts say it. */
export async function auditIdentity(sql: Sql): Promise<IdentityAudit> {
  const keys = await readKeys(sql)
  for (const check of checks) {
    const [found] = await sql.unsafe<{ problem: string }[]>(`select * from (${check}) as c (problem) limit 1`)
    if (found) return { ...keys, problem: `${found.problem}.` }
  }
  return { ...keys, problem: await wrongKeyId(sql) }
}

/** A key's id is its hash. */
async function wrongKeyId(sql: Sql): Promise<string | undefined> {
  for (const table of ['admin_keys', 'worker_keys']) {
    for (let after = ''; ; ) {
      const rows = await sql<{ id: string; key: Buffer }[]>`
        select id, public_key as key from ${sql(table)} where id > ${after} order by id limit 1000`
      const wrong = rows.find(({ id, key }) => sha256(key).toString('hex') !== id)
      if (wrong) return `The public key of ${wrong.id.slice(0, 12)} in ${table} is not its own.`
      after = rows.at(-1)?.id ?? after
      if (rows.length < 1_000) break
    }
  }
  return undefined
}

async function readKeys(sql: Sql): Promise<Omit<IdentityAudit, 'problem'>> {
  const admins = await sql<{ key: string }[]>`select encode(public_key, 'hex') as key from admin_keys`
  const payers = await sql<{ account: string; key: string }[]>`
    select 'user:' || id as account, encode(payer_key, 'hex') as key from users where payer_key is not null
    union
    select subject, details ->> 'payer_key' from acts
     where action in ('user.create', 'user.payer_key') and details ->> 'payer_key' is not null`
  const byAccount = Map.groupBy(payers, (row) => row.account)
  return {
    adminKeys: new Set(admins.map(({ key }) => key)),
    payerKeys: (account) => new Set((byAccount.get(account) ?? []).map(({ key }) => key)),
  }
}
