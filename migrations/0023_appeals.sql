-- What convicted workers say for themselves, what an admin decides, and the money that goes back.

create table appeals (
  -- as the worker has minted it
  id uuid primary key,
  worker_id text not null check (worker_id ~ '^[0-9a-f]{64}$'),
  -- signed appeal/1 in wire form: the statement and the evidence
  wire bytea not null check (octet_length(wire) <= 65536),
  opened_at timestamptz not null,
  outcome text check (outcome in ('granted', 'refused')),
  because text check (length(because) between 1 and 200),
  decided_by text,
  decided_at timestamptz,
  check ((outcome is null) = (decided_at is null)),
  check ((outcome is null) = (decided_by is null)),
  check ((outcome is null) = (because is null))
);
create unique index appeals_open on appeals (worker_id) where outcome is null;
create index appeals_worker on appeals (worker_id);

-- An appeal is decided once, and stays on record.
create function keep_appeal() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.outcome is null and new.outcome is not null
     and (new.id, new.worker_id, new.wire, new.opened_at) = (old.id, old.worker_id, old.wire, old.opened_at) then
    return new;
  end if;
  raise exception 'appeal % stays as it is', old.id using errcode = 'check_violation';
end $$;
create trigger keep_appeal before update or delete on appeals for each row execute function keep_appeal();
create trigger append_only before truncate on appeals for each statement execute function refuse_change();

-- What was taken from a worker, or from its operator's stake, goes back after a granted appeal.
alter table transfers drop constraint transfers_kind_check;
alter table transfers add constraint transfers_kind_check
  check (kind in ('charge', 'grant', 'bootstrap', 'payment', 'release', 'slash', 'refund', 'restitution'));
drop index transfers_taken;
create index transfers_taken on transfers (at) where kind in ('slash', 'refund', 'restitution');

alter table standing_acts drop constraint standing_acts_act_check;
alter table standing_acts add constraint standing_acts_act_check check (act in ('pause_releases', 'resume_releases', 'freeze',
  'call_tribunal', 'slash', 'block_operator', 'recheck_window', 'refund_users', 'hit_verifier', 'pay_back'));
