-- Whose key an account shows: the one it has learnt, else that of the worker or the pool whose id its name bears. Workers and pools are paid
-- before the ledger ever hears of a key of theirs.
create function key_of(account accounts) returns bytea language sql stable as $$
  select coalesce(account.key, case account.kind
    when 'worker' then (select w.public_key from worker_keys w where w.id = substr(account.name, 8))
    when 'held' then (select w.public_key from worker_keys w where w.id = substr(account.name, 6))
    when 'peer' then (select p.public_key from peers p where p.id = substr(account.name, 6))
  end)
$$;
