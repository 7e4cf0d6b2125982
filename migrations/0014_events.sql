-- What happened to workers and neighbours: for operators and dashboards, kept a while, proof of nothing.
create table events (
  seq bigint generated always as identity primary key,
  -- src/observability/event-journal.ts lists them
  type text not null check (type ~ '^[a-z_]{1,40}$'),
  -- whom it happened to: id of a worker or of a pool
  subject text not null check (length(subject) <= 200),
  at timestamptz not null,
  -- flat: strings, numbers, booleans
  details jsonb not null
);
create index events_at on events (at, seq);
create index events_type on events (type, at, seq);
