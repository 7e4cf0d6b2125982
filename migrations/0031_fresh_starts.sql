-- When an admin said that what was found before counts neither for nor against a worker: a reset, or a granted appeal.

create table fresh_starts (
  worker_id text not null check (worker_id ~ '^[0-9a-f]{64}$'),
  -- by the clock that checks end by
  at timestamptz not null
);
create index fresh_starts_worker on fresh_starts (worker_id, at);
create trigger append_only before update or delete or truncate on fresh_starts
  for each statement execute function refuse_change();

-- A tribunal that an admin forestalled has no votes and is over.
alter table tribunals drop constraint tribunals_outcome_check;
alter table tribunals add constraint tribunals_outcome_check check (outcome in ('hit', 'clean', 'refuted', 'void'));
