-- The ledger: who owes whom, in micro-credits. Credits are a liability of this pool; `issuance` is what it has promised.
-- The decision is made in src/ledger/decide.ts between ledger_read and ledger_write; the rules stand here once more as
-- constraints, and `lichen audit` recomputes everything from transfers and entries.

create table accounts (
  id bigint generated always as identity primary key,
  -- a trigger looks at its form once, when the account is made
  name text collate "C" not null unique,
  kind text not null check (kind in
    ('user', 'worker', 'pool', 'treasury', 'issuance', 'refund_reserve', 'held', 'stake', 'peer')),
  -- raw public key of its owner, shown in histories; null: none known yet
  key bytea check (octet_length(key) = 32),
  -- how low posted - held may go: 0 on guarded accounts
  floor bigint not null default 0 check (floor <= 0),
  posted bigint not null default 0,
  -- reserved by open holds
  held bigint not null default 0 check (held >= 0),
  -- entries so far, and the time of the last
  seq bigint not null default 0,
  last_at timestamptz not null default 'epoch',
  created_at timestamptz not null default now(),
  constraint available_not_negative check (posted - held >= floor)
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05);

-- pending ──▶ posted · voided · expired (a row each, naming the pending one in `hold`); direct stands alone.
create table transfers (
  id uuid primary key,
  phase text not null check (phase in ('pending', 'posted', 'voided', 'expired', 'direct')),
  kind text not null check (kind in ('charge', 'grant', 'bootstrap', 'payment')),
  -- who pays
  debit bigint not null,
  -- reserved when pending, moved when posted or direct, 0 when voided or expired
  amount bigint not null check (amount >= 0),
  -- who is paid: pairs {account, amount}
  credits bigint[] not null,
  hold uuid,
  expires_at timestamptz,
  -- API key whose budget it counts against; tokens reserved (pending) or used (posted)
  key text collate "C",
  tokens bigint not null check (tokens >= 0),
  at timestamptz not null,
  -- the signed bytes that ask for it, as they came; a charge's is its order
  authorisation bytea,
  check ((hold is not null) = (phase in ('posted', 'voided', 'expired'))),
  check ((expires_at is not null) = (phase = 'pending')),
  check ((phase = 'direct') = (kind <> 'charge')),
  check ((authorisation is not null) = (phase = 'direct'))
);
-- a hold resolves once
create unique index transfers_hold on transfers (hold) where hold is not null;
create unique index transfers_bootstrap on transfers (kind) where kind = 'bootstrap';

-- What a transfer did to each account, and what the account had then. `seq` counts the account's entries from 1; `at`
-- never goes back within an account, so that a day is a range of seq.
create table entries (
  account bigint not null,
  seq bigint not null,
  transfer uuid not null,
  amount bigint not null,
  balance bigint not null,
  at timestamptz not null,
  primary key (account, seq)
);

-- Open holds: gone when they are resolved, so the table is as small as the work in hand and is read whole. `day` and `minute` (since 1970) are where its budget counted it.
create table holds (
  id uuid primary key,
  account bigint not null,
  amount bigint not null,
  expires_at timestamptz not null,
  key text,
  tokens bigint not null,
  day int not null,
  minute int not null
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- What an API key has used: in all, and in the UTC day and minute it was last used in.
create table budgets (
  key text collate "C" primary key,
  spent bigint not null default 0 check (spent >= 0),
  reserved bigint not null default 0 check (reserved >= 0),
  day int not null default 0,
  day_used bigint not null default 0 check (day_used >= 0),
  minute int not null default 0,
  requests int not null default 0 check (requests >= 0),
  tokens bigint not null default 0 check (tokens >= 0)
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05);

-- What a unit costs from when on; the latest that has begun counts, the model's own before '*'.
create table prices (
  seq bigint generated always as identity primary key,
  model text not null check (length(model) between 1 and 200),
  unit text not null check (unit in ('prompt_token', 'completion_token', 'cpu_100ms')),
  amount bigint not null check (amount between 0 and 1000000000000000),
  valid_from timestamptz not null,
  set_by text not null
);
insert into prices (model, unit, amount, valid_from, set_by) values
  ('*', 'prompt_token', 100, 'epoch', 'default'), ('*', 'completion_token', 400, 'epoch', 'default'),
  ('*', 'cpu_100ms', 1000000, 'epoch', 'default');

create trigger append_only before update or delete or truncate on transfers
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on entries
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on prices
  for each statement execute function refuse_change();
create trigger append_only before delete or truncate on accounts
  for each statement execute function refuse_change();

create function refuse_account_name() returns trigger language plpgsql as $$
begin
  raise exception '% is no name for an account', new.name using errcode = 'check_violation';
end $$;
create trigger named before insert on accounts for each row
  when (new.name !~ '^[a-z_]+(:[0-9a-f-]+)?$' or length(new.name) > 100) execute function refuse_account_name();

-- Balances change inside ledger_write only; a key may be learned once (learn_account); the rest of an account never changes. The word is said with
-- set_config, and taken back at the end: in the head of a function only a superuser may set a parameter that PostgreSQL does not know.
create function refuse_account_change() returns trigger language plpgsql as $$
begin
  if current_setting('lichen.ledger', true) is distinct from tg_argv[0] then
    raise exception 'accounts change through the functions of the ledger only';
  end if;
  return null;
end $$;
create trigger balances before update of floor, posted, held, seq, last_at on accounts
  for each statement execute function refuse_account_change('writing');
create trigger keys before update of key on accounts
  for each statement execute function refuse_account_change('learning');
create trigger names before update of id, name, kind, created_at on accounts
  for each statement execute function refuse_change();

create function floor_of(kind text) returns bigint language sql immutable as $$
  select case kind when 'issuance' then -4000000000000000000 when 'peer' then -1000000000000000000 else 0 end
$$;

-- The account of this name, made when it is missing; it learns a key when it has none. False: it has another key.
create function learn_account(wanted text, wanted_kind text, wanted_key bytea) returns boolean
  language plpgsql
as $$
begin
  insert into accounts (name, kind, floor, key) values (wanted, wanted_kind, floor_of(wanted_kind), wanted_key)
    on conflict (name) do nothing;
  if wanted_key is null then return true; end if;
  perform set_config('lichen.ledger', 'learning', true);
  update accounts a set key = wanted_key where a.name = wanted and a.key is null;
  perform set_config('lichen.ledger', '', true);
  return (select a.key = wanted_key from accounts a where a.name = wanted);
end $$;

insert into accounts (name, kind, floor)
  select n, n, floor_of(n) from unnest(array['issuance', 'pool', 'treasury', 'refund_reserve']) n;

-- Makes, locks (in order of id, then budgets in order of key) and answers what a batch of operations will touch.
-- `kinds`: of each name, what to make when there is no such account; null: nothing.
-- The planner must not choose plans for empty tables and keep them: every look-up goes through an index.
create function ledger_read(
  names text[], kinds text[], ids uuid[], hold_ids uuid[], keys text[],
  out name_ids text, out account_ids text, out floors text, out posteds text, out helds text, out seqs text,
  out last_ats text,
  out open_ids text, out open_accounts text, out open_amounts text, out open_expires text, out open_keys text,
  out open_tokens text, out open_days text, out open_minutes text,
  out budget_keys text, out spents text, out reserveds text, out days text, out day_useds text, out minutes text,
  out request_counts text, out token_counts text,
  out known_ids uuid[], out bootstrapped boolean
) language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set jit = off
as $$
declare
  named bigint[];
  touched bigint[];
  all_keys text[] := keys;
begin
  select array_agg(coalesce(a.id, 0) order by n.at) into named
    from unnest(names) with ordinality n (name, at) left join accounts a on a.name = n.name;
  if 0 = any (named) then
    insert into accounts (name, kind, floor)
      select n.name, n.kind, floor_of(n.kind)
        from unnest(names, kinds) n (name, kind) where n.kind is not null order by n.name
      on conflict (name) do nothing;
    select array_agg(coalesce(a.id, 0) order by n.at) into named
      from unnest(names) with ordinality n (name, at) left join accounts a on a.name = n.name;
  end if;
  touched := named;
  if cardinality(hold_ids) > 0 then
    select touched || coalesce(array_agg(h.account), '{}'), all_keys || coalesce(array_agg(h.key) filter (where h.key is not null), '{}')
      into touched, all_keys from holds h where h.id = any (hold_ids);
  end if;
  with locked as materialized (
    select a.id, a.floor, a.posted, a.held, a.seq, a.last_at
      from accounts a where a.id = any (touched) order by a.id for no key update)
  select array_agg(l.id)::text, array_agg(l.floor)::text, array_agg(l.posted)::text, array_agg(l.held)::text,
         array_agg(l.seq)::text, array_agg((extract(epoch from l.last_at) * 1000)::bigint)::text
    into account_ids, floors, posteds, helds, seqs, last_ats
    from locked l;
  name_ids := named::text;

  if cardinality(all_keys) > 0 then
    with locked as materialized (
      select b.* from budgets b where b.key = any (all_keys) order by b.key for no key update)
    select array_agg(l.key)::text, array_agg(l.spent)::text, array_agg(l.reserved)::text, array_agg(l.day)::text,
           array_agg(l.day_used)::text, array_agg(l.minute)::text, array_agg(l.requests)::text,
           array_agg(l.tokens)::text
      into budget_keys, spents, reserveds, days, day_useds, minutes, request_counts, token_counts
      from locked l;
  end if;

  if cardinality(hold_ids) > 0 then
    select array_agg(h.id)::text, array_agg(h.account)::text, array_agg(h.amount)::text,
           array_agg((extract(epoch from h.expires_at) * 1000)::bigint)::text, array_agg(coalesce(h.key, ''))::text,
           array_agg(h.tokens)::text, array_agg(h.day)::text, array_agg(h.minute)::text
      into open_ids, open_accounts, open_amounts, open_expires, open_keys, open_tokens, open_days, open_minutes
      from holds h where h.id = any (hold_ids);
  end if;
  select array_agg(t.id) into known_ids from transfers t
   where t.id = any (ids || coalesce((select array_agg(h) from unnest(hold_ids) h
                                       where not exists (select from holds o where o.id = h)), '{}'));
  bootstrapped := exists (select from transfers t where t.kind = 'bootstrap');
end $$;

-- Writes what was decided, as it is: new states of accounts and budgets, new rows of the rest. It refuses what can only
-- be our own mistake: entries that do not sum to zero, a state for a row that is not there.
create function ledger_write(
  account_ids bigint[], posteds bigint[], helds bigint[], seqs bigint[], last_ats bigint[],
  transfer_ids uuid[], phases text[], kinds text[], debits bigint[], amounts bigint[], credits text[],
  resolved uuid[], expires bigint[], keys text[], token_counts bigint[], ats bigint[], authorisations bytea[],
  entry_accounts bigint[], entry_seqs bigint[], entry_transfers uuid[], entry_amounts bigint[],
  entry_balances bigint[], entry_ats bigint[],
  closed uuid[],
  open_ids uuid[], open_accounts bigint[], open_amounts bigint[], open_expires bigint[], open_keys text[],
  open_tokens bigint[], open_days int[], open_minutes int[],
  budget_keys text[], spents bigint[], reserveds bigint[], days int[], day_useds bigint[], minutes int[],
  budget_requests int[], budget_tokens bigint[], new_keys text[]
) returns void language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set jit = off
as $$
declare
  written bigint;
begin
  if (select coalesce(sum(e), 0) <> 0 from unnest(entry_amounts) e) then
    raise exception 'the entries of a batch do not sum to zero';
  end if;
  insert into transfers (id, phase, kind, debit, amount, credits, hold, expires_at, key, tokens, at, authorisation)
    select t.id, t.phase, t.kind, t.debit, t.amount, t.credits::bigint[], t.hold, to_timestamp(t.expires / 1000.0),
           t.key, t.tokens, to_timestamp(t.at / 1000.0), t.authorisation
      from unnest(transfer_ids, phases, kinds, debits, amounts, credits, resolved, expires, keys, token_counts, ats,
                  authorisations)
        as t (id, phase, kind, debit, amount, credits, hold, expires, key, tokens, at, authorisation);
  if cardinality(entry_accounts) > 0 then
    insert into entries (account, seq, transfer, amount, balance, at)
      select e.account, e.seq, e.transfer, e.amount, e.balance, to_timestamp(e.at / 1000.0)
        from unnest(entry_accounts, entry_seqs, entry_transfers, entry_amounts, entry_balances, entry_ats)
          as e (account, seq, transfer, amount, balance, at);
  end if;
  if cardinality(closed) > 0 then
    delete from holds h where h.id = any (closed);
    get diagnostics written = row_count;
    if written <> cardinality(closed) then raise exception 'a hold was resolved twice'; end if;
  end if;
  if cardinality(open_ids) > 0 then
    insert into holds (id, account, amount, expires_at, key, tokens, day, minute)
      select h.id, h.account, h.amount, to_timestamp(h.expires / 1000.0), h.key, h.tokens, h.day, h.minute
        from unnest(open_ids, open_accounts, open_amounts, open_expires, open_keys, open_tokens, open_days, open_minutes)
          as h (id, account, amount, expires, key, tokens, day, minute);
  end if;
  perform set_config('lichen.ledger', 'writing', true);
  update accounts a
     set posted = n.posted, held = n.held, seq = n.seq, last_at = to_timestamp(n.at / 1000.0)
    from unnest(account_ids, posteds, helds, seqs, last_ats) as n (id, posted, held, seq, at)
   where a.id = n.id;
  get diagnostics written = row_count;
  perform set_config('lichen.ledger', '', true);
  if written <> cardinality(account_ids) then raise exception 'a balance has no account'; end if;
  if cardinality(budget_keys) > 0 then
    insert into budgets (key) select k from unnest(new_keys) k;
    update budgets b
       set spent = n.spent, reserved = n.reserved, day = n.day, day_used = n.day_used, minute = n.minute,
           requests = n.requests, tokens = n.tokens
      from unnest(budget_keys, spents, reserveds, days, day_useds, minutes, budget_requests, budget_tokens)
        as n (key, spent, reserved, day, day_used, minute, requests, tokens)
     where b.key = n.key;
    get diagnostics written = row_count;
    if written <> cardinality(budget_keys) then raise exception 'a budget has no row'; end if;
  end if;
end $$;

-- The first entry of an account at or after a time, by bisection: `at` never goes back within an account.
create function first_entry_since(wanted bigint, since timestamptz) returns bigint language plpgsql stable
  set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
  low bigint := 1;
  high bigint := (select coalesce(max(e.seq), 0) + 1 from entries e where e.account = wanted);
  middle bigint;
begin
  while low < high loop
    middle := (low + high) / 2;
    if (select e.at from entries e where e.account = wanted and e.seq = middle) < since then
      low := middle + 1;
    else
      high := middle;
    end if;
  end loop;
  return low;
end $$;
