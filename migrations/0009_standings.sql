-- What a pool knows of each worker with each model, and what it must do about it.

create table standings (
  -- hex sha256 of its public key, as in worker_keys
  worker_id text not null check (worker_id ~ '^[0-9a-f]{64}$'),
  model text not null check (length(model) between 1 and 200),
  -- serve: its own answers; verify: what it says of others' answers
  duty text not null check (duty in ('serve', 'verify')),
  -- src/verification/verdict.ts draws the moves
  phase text not null check (phase in ('probation', 'trusted', 'paused', 'frozen', 'convicted')),
  -- clean checks since it came, or since an admin's reset
  clean int not null check (clean >= 0),
  -- of the cumulative sum charts, micronats
  heights bigint[] not null check (cardinality(heights) between 1 and 8),
  -- of the Beta posterior; they fade, so they have fractions
  posterior_clean float8 not null check (posterior_clean >= 0),
  posterior_hits float8 not null check (posterior_hits >= 0),
  -- verifiers whose hits raised the charts since they last stood at zero
  accusers text[] not null check (cardinality(accusers) <= 16),
  changed_at timestamptz not null,
  primary key (worker_id, model, duty)
);
create index standings_changed_at on standings (changed_at);

-- Moves from one phase to the next; a reset deletes the row.
create function refuse_standing_move() returns trigger language plpgsql as $$
begin
  raise exception 'worker % does not go from % to %', old.worker_id, old.phase, new.phase using errcode = 'check_violation';
end $$;
create trigger standing_moves before update on standings for each row
  when (old.phase <> new.phase and not (
    (old.phase = 'probation' and new.phase in ('trusted', 'paused', 'frozen', 'convicted')) or
    (old.phase = 'trusted' and new.phase in ('paused', 'frozen', 'convicted')) or
    (old.phase = 'paused' and new.phase in ('probation', 'trusted', 'frozen', 'convicted')) or
    (old.phase = 'frozen' and new.phase in ('probation', 'trusted', 'convicted'))))
  execute function refuse_standing_move();

-- Every process hears of a change when it commits.
create function tell_standing() returns trigger language plpgsql as $$
begin
  perform pg_notify('lichen_standings', coalesce(new.worker_id, old.worker_id));
  return null;
end $$;
create trigger tell_standing after insert or update or delete on standings
  for each row execute function tell_standing();

-- What a decision asks to be done, written with the decision and done by whoever comes first, once.
create table standing_acts (
  id uuid primary key,
  worker_id text not null,
  model text not null,
  duty text not null,
  act text not null check (act in ('pause_releases', 'resume_releases', 'freeze', 'call_tribunal', 'slash',
    'block_operator', 'recheck_window', 'refund_users', 'hit_verifier')),
  -- whom `hit_verifier` means
  verifier text,
  -- the check or tribunal it follows from
  because text not null check (length(because) <= 200),
  decided_at timestamptz not null,
  -- in the order of one decision
  step smallint not null,
  done_at timestamptz,
  check ((verifier is not null) = (act = 'hit_verifier'))
);
create index standing_acts_due on standing_acts (decided_at, step) where done_at is null;
