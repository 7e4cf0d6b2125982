-- The transparency log: a tree (RFC 9162) over everything the pool must not be able to rewrite unseen, and the acts of
-- administration. Leaves are hashes; what they commit to stands in the tables of other rooms. Numbers count from 0.

create table log_leaves (
  index bigint primary key check (index >= 0),
  kind text not null check (kind in ('act', 'order', 'receipt', 'transfer', 'epoch', 'check')),
  -- unique within its kind: a job, a transfer, the number of an act
  ref text not null check (length(ref) between 1 and 200),
  -- sha256(0x00 || leaf data)
  hash bytea not null check (octet_length(hash) = 32),
  unique (kind, ref)
);
create index log_leaves_hash on log_leaves using hash (hash);

-- The right edge of the tree, in one row. Whoever appends holds its lock until the commit, so that pool processes on one
-- database write one log.
create table log_head (
  only_row boolean primary key default true check (only_row),
  -- grows by one when the log was continued from a backup that had lost leaves
  generation int not null check (generation > 0),
  size bigint not null check (size >= 0),
  -- roots of the perfect subtrees, largest first: one for each bit of the size
  frontier bytea[] not null,
  checkpoints bigint not null check (checkpoints >= 0),
  -- all before was found right by the audit of an earlier start
  audited bigint not null default 0 check (audited between 0 and size)
);

-- One for each flush that added leaves, signed before its commit and known to others only after it.
create table log_checkpoints (
  number bigint primary key check (number >= 0),
  generation int not null,
  size bigint not null check (size >= 0),
  -- C2SP signed note, see spec/log.md
  note text not null
);
create index log_checkpoints_size on log_checkpoints (size);

-- Full tiles of 256 nodes (C2SP tlog-tiles), kept because proofs over a million leaves would otherwise read them all.
-- Derived from the leaves: may be emptied at any time.
create table log_tiles (
  level smallint not null check (level >= 0),
  index bigint not null check (index >= 0),
  root bytea not null check (octet_length(root) = 32),
  nodes bytea not null check (octet_length(nodes) = 8192),
  primary key (level, index)
);

-- Who did what with special rights. Written together with the deed; its leaf follows within a second.
create table acts (
  seq bigint generated always as identity primary key,
  at timestamptz not null default date_trunc('milliseconds', clock_timestamp())
    check (at = date_trunc('milliseconds', at)),
  actor text not null check (length(actor) between 1 and 200),
  action text not null check (length(action) between 1 and 200),
  subject text not null check (length(subject) <= 200),
  details jsonb not null default '{}',
  -- 244 random bits: the leaf tells nothing to those who do not know the row
  salt bytea not null default decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
    check (octet_length(salt) = 32)
);

create trigger append_only before update or delete or truncate on log_leaves
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on log_checkpoints
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on acts
  for each statement execute function refuse_change();

create function refuse_shrinking_log() returns trigger language plpgsql as $$
begin
  raise exception 'the log only grows' using errcode = 'check_violation';
end $$;
create trigger only_grows before update on log_head for each row
  when (new.size < old.size or new.generation < old.generation or new.checkpoints < old.checkpoints)
  execute function refuse_shrinking_log();
create trigger append_only before delete or truncate on log_head
  for each statement execute function refuse_change();

-- Takes the lock on the right edge; says what is there, the newest checkpoint, and which of these leaves are logged
-- already. The look-ups are statements of their own: they see what the holder of the lock before us has committed.
create function begin_log(p_kinds text[], p_refs text[])
returns table (generation int, size bigint, frontier bytea[], checkpoints bigint, note text, places int[], known bytea[]) language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  select h.generation, h.size, h.frontier, h.checkpoints
    into strict begin_log.generation, begin_log.size, begin_log.frontier, begin_log.checkpoints
    from log_head h for update;
  select c.note into begin_log.note from log_checkpoints c order by c.number desc limit 1;
  select coalesce(array_agg(e.n), '{}'), coalesce(array_agg(l.hash), '{}') into begin_log.places, begin_log.known
    from unnest(p_kinds, p_refs) with ordinality as e (kind, ref, n)
    join log_leaves l on l.kind = e.kind and l.ref = e.ref;
  return next;
end $$;
