-- Honest runs: what one kernel class found of an answer of another for which others vouch.
create table calibrations (
  -- the check it is of
  check_id uuid primary key,
  -- of the model file
  digest text not null,
  -- kernel class of the worker that answered, and of the verifier, as the pool had measured them
  answered text not null,
  looked text not null,
  -- of the verifier
  operator text not null,
  -- the pool's own engine, or two operators other than the verifier
  vouched_by text not null check (vouched_by in ('reference', 'two_operators')),
  -- of the positions' scores, logits
  mean float8 not null check (mean between 0 and 3),
  max float8 not null check (max between 0 and 3),
  at timestamptz not null
);
create index calibrations_pair on calibrations (digest, answered, looked, at desc);
create index calibrations_at on calibrations (at);
