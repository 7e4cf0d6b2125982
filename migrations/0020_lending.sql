-- Jobs that pools lend each other.

-- A job of another pool that is computed here; `job_id` once it is accepted.
create table lent_jobs (
  peer_id text not null references peers (id),
  origin_request_id text not null check (length(origin_request_id) between 1 and 200),
  job_id uuid,
  at timestamptz not null,
  primary key (peer_id, origin_request_id)
);
create index lent_jobs_at on lent_jobs (peer_id, at);
create unique index lent_jobs_job on lent_jobs (job_id);

-- An attempt of a job of this pool that another one computes. `id` is its lease here and `origin_request_id` there.
create table borrowed_runs (
  id uuid primary key,
  peer_id text not null references peers (id),
  job_id uuid,
  at timestamptz not null,
  -- what the other pool and its worker have signed for it: a receipt file, once it was fetched and held
  receipt bytea check (length(receipt) <= 1048576)
);
create index borrowed_runs_at on borrowed_runs (peer_id, at);
create index borrowed_runs_job on borrowed_runs (job_id);
