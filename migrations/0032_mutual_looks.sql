-- What workers that computed one answer side by side found of each other's, before it was shown; their receipt tells of it.
create table mutual_looks (
  id uuid primary key,
  job_id uuid not null,
  -- whose answer was looked at
  choice smallint not null,
  attempt smallint not null,
  worker_id text not null check (worker_id ~ '^[0-9a-f]{64}$'),
  model text not null,
  digest text,
  epoch bigint not null,
  -- who looked
  verifier text not null check (verifier ~ '^[0-9a-f]{64}$' and verifier <> worker_id),
  operator text not null,
  says text not null check (says in ('clean', 'hit', 'waived')),
  -- the first part of the rule that makes it a hit, or why nothing was said
  why text check (length(why) between 1 and 200),
  -- mean score, in logits
  score float8,
  -- signed commitment/1 in wire form, and sha256 of the evidence that opened it
  commitment bytea check (octet_length(commitment) <= 65536),
  evidence bytea check (octet_length(evidence) = 32),
  at timestamptz not null,
  unique (job_id, choice, attempt, verifier),
  check ((why is null) = (says = 'clean')),
  check ((says = 'waived') = (score is null) and (score is null) = (commitment is null) and (score is null) = (evidence is null))
);
create index mutual_looks_worker on mutual_looks (worker_id);
create trigger append_only before update or delete or truncate on mutual_looks
  for each statement execute function refuse_change();
