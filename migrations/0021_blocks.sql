-- Who may not lend until an admin lifts it, whatever its key says: one worker, or everybody behind an address.
-- Operators are blocked in `operators`.
create table blocks (
  id uuid primary key,
  kind text not null check (kind in ('worker', 'address')),
  -- hex sha256 of the worker's key, or the network as text
  subject text not null check (length(subject) between 1 and 64),
  -- of kind `address`
  network cidr,
  because text not null check (length(because) between 1 and 200),
  by_whom text not null,
  at timestamptz not null,
  lifted_at timestamptz,
  lifted_by text,
  changed_at timestamptz not null default clock_timestamp(),
  check ((kind = 'address') = (network is not null)),
  check (kind = 'address' or subject ~ '^[0-9a-f]{64}$'),
  check ((lifted_at is null) = (lifted_by is null))
);
create unique index blocks_standing on blocks (kind, subject) where lifted_at is null;
create index blocks_changed on blocks (changed_at);
create trigger tell_change before insert or update on blocks
  for each row execute function tell_change('lichen_blocks');

-- A block is lifted once, and stays on record.
create function keep_block() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.lifted_at is null and new.lifted_at is not null
     and (new.id, new.kind, new.subject, new.because, new.by_whom, new.at)
         = (old.id, old.kind, old.subject, old.because, old.by_whom, old.at) then
    return new;
  end if;
  raise exception 'block % stays as it is', old.id using errcode = 'check_violation';
end $$;
create trigger keep_block before update or delete on blocks for each row execute function keep_block();
create trigger append_only before truncate on blocks for each statement execute function refuse_change();

-- Said by whoever blocked the operator.
alter table operators add column blocked_because text check (length(blocked_because) between 1 and 200);
