-- Pools remember the books between flushes. `batch` changes with every batch that is written, whoever writes it: a pool that finds the
-- batch it wrote last knows that what it remembers is what the tables say. Its lock orders the pool processes of one database: it
-- is held from the question to the commit, so no other row of the ledger needs one.

create table ledger_mark (
  only_row boolean primary key default true check (only_row),
  batch uuid not null default gen_random_uuid()
);
insert into ledger_mark default values;

create trigger append_only before delete or truncate on ledger_mark
  for each statement execute function refuse_change();

-- Whoever changes budgets or holds by hand makes all pools forget.
create function forget_books() returns trigger language plpgsql as $$
begin
  if current_setting('lichen.ledger', true) is distinct from 'writing' then
    update ledger_mark set batch = gen_random_uuid();
  end if;
  return null;
end $$;
create trigger forgotten after insert or update or delete or truncate on holds
  for each statement execute function forget_books();
create trigger forgotten after insert or update or delete or truncate on budgets
  for each statement execute function forget_books();

drop function ledger_read(text[], text[], uuid[], uuid[], text[]);

-- Locks the ledger and answers what a batch of operations will touch, as far as it is asked for.
-- `kinds`: of each name, what to make when there is no such account; null: nothing.
-- The planner must not choose plans for empty tables and keep them: every look-up goes through an index.
create function ledger_read(
  names text[], kinds text[], ids uuid[], hold_ids uuid[], keys text[],
  out batch uuid,
  out account_ids text, out account_names text, out floors text, out posteds text, out helds text, out seqs text,
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
  all_keys text[] := keys;
  open uuid[] := '{}';
begin
  -- the look-ups are statements of their own: they see what the holder of the lock before us has committed
  select m.batch into strict batch from ledger_mark m for no key update;
  if exists (select from unnest(names, kinds) n (name, kind)
              where n.kind is not null and not exists (select from accounts a where a.name = n.name)) then
    insert into accounts (name, kind, floor)
      select n.name, n.kind, floor_of(n.kind)
        from unnest(names, kinds) n (name, kind) where n.kind is not null order by n.name
      on conflict (name) do nothing;
  end if;
  if cardinality(hold_ids) > 0 then
    select array_agg(h.id), array_agg(h.id)::text, array_agg(h.account)::text, array_agg(h.amount)::text,
           array_agg((extract(epoch from h.expires_at) * 1000)::bigint)::text, array_agg(coalesce(h.key, ''))::text,
           array_agg(h.tokens)::text, array_agg(h.day)::text, array_agg(h.minute)::text,
           all_keys || coalesce(array_agg(h.key) filter (where h.key is not null), '{}')
      into open, open_ids, open_accounts, open_amounts, open_expires, open_keys, open_tokens, open_days, open_minutes,
           all_keys
      from holds h where h.id = any (hold_ids);
    open := coalesce(open, '{}');
  end if;
  if cardinality(names) + cardinality(open) > 0 then
    select array_agg(a.id)::text, array_agg(a.name)::text, array_agg(a.floor)::text, array_agg(a.posted)::text,
           array_agg(a.held)::text, array_agg(a.seq)::text,
           array_agg((extract(epoch from a.last_at) * 1000)::bigint)::text
      into account_ids, account_names, floors, posteds, helds, seqs, last_ats
      from (select o.id from unnest(names) n (name) join accounts o on o.name = n.name
            union
            select h.account from holds h where h.id = any (open)) touched
      join accounts a on a.id = touched.id;
  end if;
  if cardinality(all_keys) > 0 then
    select array_agg(b.key)::text, array_agg(b.spent)::text, array_agg(b.reserved)::text, array_agg(b.day)::text,
           array_agg(b.day_used)::text, array_agg(b.minute)::text, array_agg(b.requests)::text,
           array_agg(b.tokens)::text
      into budget_keys, spents, reserveds, days, day_useds, minutes, request_counts, token_counts
      from budgets b where b.key = any (all_keys);
  end if;
  select array_agg(t.id) into known_ids from transfers t
   where t.id = any (ids || array(select h from unnest(hold_ids) h where h <> all (open)));
  bootstrapped := exists (select from transfers t where t.kind = 'bootstrap');
end $$;

drop function ledger_write(
  bigint[], bigint[], bigint[], bigint[], bigint[], uuid[], text[], text[], bigint[], bigint[], text[], uuid[], bigint[],
  text[], bigint[], bigint[], bytea[], bigint[], bigint[], uuid[], bigint[], bigint[], bigint[], uuid[], uuid[], bigint[],
  bigint[], bigint[], text[], bigint[], int[], int[], text[], bigint[], bigint[], int[], bigint[], int[], int[], bigint[],
  text[]);

-- Writes what was decided on the books as they were after `read_batch`, and answers what this batch is called. New states of accounts and
-- budgets, new rows of the rest. It refuses what can only be our own mistake: books that somebody else has written meanwhile,
-- entries that do not sum to zero, a state for a row that is not there.
create function ledger_write(
  read_batch uuid,
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
) returns uuid language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set jit = off
as $$
declare
  written bigint;
  new_batch uuid;
begin
  update ledger_mark m set batch = gen_random_uuid() where m.batch = read_batch returning m.batch into new_batch;
  if new_batch is null then raise exception 'the books were written by somebody else meanwhile'; end if;
  if (select coalesce(sum(e), 0) <> 0 from unnest(entry_amounts) e) then
    raise exception 'the entries of a batch do not sum to zero';
  end if;
  perform set_config('lichen.ledger', 'writing', true);
  insert into transfers (id, phase, kind, debit, amount, credits, hold, expires_at, key, tokens, at, authorisation)
    select t.id, t.phase, t.kind, t.debit, t.amount, t.credits::bigint[], t.hold,
           to_timestamp(t.expires::float8 / 1000), t.key, t.tokens, to_timestamp(t.at::float8 / 1000), t.authorisation
      from unnest(transfer_ids, phases, kinds, debits, amounts, credits, resolved, expires, keys, token_counts, ats,
                  authorisations)
        as t (id, phase, kind, debit, amount, credits, hold, expires, key, tokens, at, authorisation);
  if cardinality(entry_accounts) > 0 then
    insert into entries (account, seq, transfer, amount, balance, at)
      select e.account, e.seq, e.transfer, e.amount, e.balance, to_timestamp(e.at::float8 / 1000)
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
      select h.id, h.account, h.amount, to_timestamp(h.expires::float8 / 1000), h.key, h.tokens, h.day, h.minute
        from unnest(open_ids, open_accounts, open_amounts, open_expires, open_keys, open_tokens, open_days, open_minutes)
          as h (id, account, amount, expires, key, tokens, day, minute);
  end if;
  update accounts a
     set posted = n.posted, held = n.held, seq = n.seq, last_at = to_timestamp(n.at::float8 / 1000)
    from unnest(account_ids, posteds, helds, seqs, last_ats) as n (id, posted, held, seq, at)
   where a.id = n.id;
  get diagnostics written = row_count;
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
  perform set_config('lichen.ledger', '', true);
  return new_batch;
end $$;
