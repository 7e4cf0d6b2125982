-- Which answers are looked at again, by whom, and what came of it.

-- What decides whether an answer is checked, committed to in the leaf of its order: u64 epoch || commitment to the
-- epoch's key || root of the check rates || 32 random bytes. Null: nothing was sampled then.
alter table orders add column sampling bytea check (octet_length(sampling) = 104);

-- One for each UTC hour: the key by which its answers are sampled.
create table epochs (
  epoch bigint primary key,
  commitment bytea not null unique check (octet_length(commitment) = 32),
  -- the key under the pool's key file; null once it is told
  sealed bytea check (octet_length(sealed) = 60),
  key bytea check (octet_length(key) = 32),
  -- sha256 of the text that tells every decision of the epoch
  disclosure bytea check (octet_length(disclosure) = 32),
  check ((sealed is null) = (key is not null)),
  check ((disclosure is null) = (key is null))
);

-- A key is told once, and nothing is forgotten.
create function keep_epoch() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.key is null and new.key is not null
     and new.epoch = old.epoch and new.commitment = old.commitment then
    return new;
  end if;
  raise exception 'epoch % stays as it is', old.epoch using errcode = 'check_violation';
end $$;
create trigger keep_epoch before update or delete on epochs for each row execute function keep_epoch();
create trigger append_only before truncate on epochs for each statement execute function refuse_change();

-- Rates that were in force, by the root that orders commit to; kept until every epoch that names them is told.
create table rate_tables (
  root bytea primary key check (octet_length(root) = 32),
  -- [[worker, model, parts per million], …] in order; who is not in it is checked always
  rates jsonb not null,
  used_at timestamptz not null
);

-- owed ──▶ assigned ──▶ committed ──▶ revealed ──▶ clean · hit · waived        any of the first four ──▶ owed, waived
create table checks (
  id uuid primary key,
  job_id uuid not null,
  choice smallint not null,
  attempt smallint not null,
  worker_id text not null check (worker_id ~ '^[0-9a-f]{64}$'),
  model text not null,
  digest text,
  -- sha256 of the worker's statement without its signature; null: it signed none
  statement bytea check (octet_length(statement) = 32),
  epoch bigint not null,
  q_ppm int not null check (q_ppm between 0 and 1000000),
  reason text not null check (reason in ('sampled', 'unsigned', 'doubt', 'reference')),
  state text not null check (state in ('owed', 'assigned', 'committed', 'revealed', 'clean', 'hit', 'waived')),
  -- why nobody looked, or why it came to nothing
  waived text check (length(waived) between 1 and 200),
  -- who looked first
  verifier text,
  -- mean score of the first look, in logits
  score float8,
  owed_at timestamptz not null,
  -- the pool process that has it, and until when
  instance uuid,
  leased_until timestamptz,
  ended_at timestamptz,
  unique (job_id, choice, attempt, reason),
  check ((waived is not null) = (state = 'waived')),
  check ((ended_at is not null) = (state in ('clean', 'hit', 'waived')))
) with (fillfactor = 80);
create index checks_open on checks (owed_at) where ended_at is null;
create index checks_worker on checks (worker_id, model, ended_at);
create index checks_epoch on checks (epoch, job_id);

-- What has ended stays as it is.
create function refuse_check_move() returns trigger language plpgsql as $$
begin
  raise exception 'check % has ended' , old.id using errcode = 'check_violation';
end $$;
create trigger check_moves before update or delete on checks for each row
  when (old.ended_at is not null) execute function refuse_check_move();
create trigger append_only before truncate on checks for each statement execute function refuse_change();

-- One verifier's look at one answer. What it says is bound by its signed commitment before it is heard.
create table looks (
  id uuid primary key,
  check_id uuid not null references checks,
  purpose text not null check (purpose in ('first', 'second', 'reference', 'tribunal', 'window', 'known_good', 'known_bad')),
  verifier text not null,
  operator text not null,
  -- signed commitment/1 in wire form
  commitment bytea not null check (octet_length(commitment) <= 65536),
  -- sha256 of the evidence that opened it
  evidence bytea not null check (octet_length(evidence) = 32),
  says text not null check (says in ('clean', 'hit')),
  why text,
  score float8 not null,
  at timestamptz not null
);
create index looks_check on looks (check_id);
create trigger append_only before update or delete or truncate on looks
  for each statement execute function refuse_change();

-- What a check needs of an answer, encrypted; only of those that are checked, and only as long as their earnings are held.
create table transcripts (
  job_id uuid not null,
  choice smallint not null,
  attempt smallint not null,
  -- its own key under the pool's key file; deleting it is deleting the transcript
  wrap bytea not null check (octet_length(wrap) = 60),
  body bytea not null,
  kept_at timestamptz not null,
  primary key (job_id, choice, attempt)
);
create index transcripts_kept_at on transcripts (kept_at);

-- Three more look at what a frozen worker is accused of.
create table tribunals (
  id uuid primary key,
  worker_id text not null,
  model text not null,
  duty text not null,
  called_at timestamptz not null,
  -- [{verifier, operator, says}, …]
  votes jsonb,
  outcome text check (outcome in ('hit', 'clean', 'refuted')),
  ended_at timestamptz,
  check ((ended_at is null) = (outcome is null))
);
create index tribunals_open on tribunals (called_at) where ended_at is null;

-- Signed verdict/1 statements, for the log and for receipts.
create table verdicts (
  check_id uuid primary key,
  job_id uuid not null,
  wire bytea not null check (octet_length(wire) <= 65536)
);
create index verdicts_job on verdicts (job_id);
create trigger append_only before update or delete or truncate on verdicts
  for each statement execute function refuse_change();
