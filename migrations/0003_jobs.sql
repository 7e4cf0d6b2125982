-- Jobs: who asked for how much of which model, which worker computed it, how it ended. Never what was asked or answered.

-- Every pool process on this database. One that stops renewing its row is dead, and its open jobs are interrupted.
create table pool_instances (
  id uuid primary key,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now()
);

create table jobs (
  -- UUIDv7: sorts by time of acceptance. Also the receipt's id.
  id uuid primary key,
  instance uuid not null,
  state text not null default 'queued' check (state in
    ('queued', 'leased', 'streaming', 'completed', 'cancelled', 'failed', 'expired', 'interrupted')),
  kind text not null check (kind in ('chat', 'completion', 'embedding')),
  key_id text not null,
  model text not null,
  -- sha256 of the model file that computed it; null: not yet known, or an upstream that does not tell
  digest text,
  choices smallint not null check (choices between 1 and 16),
  max_tokens int not null check (max_tokens >= 0),
  streamed boolean not null,
  accepted_at timestamptz not null,
  deadline_at timestamptz not null,
  first_token_at timestamptz,
  ended_at timestamptz,
  prompt_tokens int check (prompt_tokens >= 0),
  completion_tokens int check (completion_tokens >= 0),
  -- refusal code when it was not completed
  code text,
  constraint an_ended_job_is_final check
    ((ended_at is not null) = (state in ('completed', 'cancelled', 'failed', 'expired', 'interrupted')))
) with (fillfactor = 80);

create index jobs_open on jobs (instance) where ended_at is null;

-- src/jobs/job-states.ts draws the moves. Moves of one flush are one update, so whatever can be reached is allowed:
-- nothing leaves a final state (the row is history), nothing returns to queued.
create function refuse_job_move() returns trigger language plpgsql as $$
begin
  raise exception 'job % does not go from % to %', old.id, old.state, new.state using errcode = 'check_violation';
end $$;

create trigger job_moves before update on jobs for each row
  when (old.ended_at is not null or (new.state = 'queued' and old.state <> 'queued') or new.id <> old.id)
  execute function refuse_job_move();

-- One attempt of one choice: which worker had it, under which lease, what it sent and what it claimed.
create table segments (
  job_id uuid not null references jobs,
  choice smallint not null,
  attempt smallint not null,
  lease uuid not null,
  worker_id text not null,
  digest text,
  outcome text not null check (outcome in ('running', 'ended', 'failed', 'lost', 'cancelled')),
  started_at timestamptz not null,
  ended_at timestamptz,
  -- pieces relayed, and what the worker says it used; the claim never raises a count
  pieces int not null check (pieces >= 0),
  prompt_claim bigint,
  completion_claim bigint,
  finish text,
  fault text,
  code text,
  primary key (job_id, choice, attempt)
);

-- Applies moves and ends in the order given. 0 applied (or was before), 1 the job ended otherwise, 2 unknown job.
-- The planner must not choose a plan for empty tables and keep it: every look-up goes through the primary key. (Asking
-- for `ended_at is null` would let it choose the index of open jobs, full of dead entries under load.)
create function move_jobs(
  ids uuid[], states text[], digests text[], first_tokens bigint[], ends bigint[],
  prompts int[], completions int[], codes text[]
) returns smallint[] language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  answer smallint[];
begin
  update jobs j
     set state = m.state,
         digest = m.digest,
         first_token_at = to_timestamp(m.first_token / 1000.0),
         ended_at = to_timestamp(m.ended / 1000.0),
         prompt_tokens = m.prompt,
         completion_tokens = m.completion,
         code = m.code
    from unnest(ids, states, digests, first_tokens, ends, prompts, completions, codes)
      as m (id, state, digest, first_token, ended, prompt, completion, code)
   where j.id = m.id and j.state in ('queued', 'leased', 'streaming');
  select array_agg(case when j.id is null then 2 when j.state = m.state then 0 else 1 end order by m.n)
    into answer
    from unnest(ids, states) with ordinality as m (id, state, n)
    left join jobs j on j.id = m.id;
  return answer;
end $$;

-- Models that were ever offered: 503 instead of 404 while all their workers are away.
create table known_models (
  name text primary key,
  features text[] not null,
  seen_at timestamptz not null
);

-- Idempotency-Key of a request, its body and the job it became; keyed hashes only, kept for a day.
create table idempotency (
  key_id text not null,
  key_mac bytea not null,
  body_mac bytea not null,
  job_id uuid not null,
  created_at timestamptz not null,
  primary key (key_id, key_mac)
);

create index idempotency_created_at on idempotency (created_at);
