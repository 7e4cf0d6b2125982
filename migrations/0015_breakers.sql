-- Circuits of workers that are not closed: who gets no work until when, for failing too often.
create table breakers (
  -- hex sha256 of its public key, as in worker_keys
  worker_id text primary key check (worker_id ~ '^[0-9a-f]{64}$'),
  why text not null check (why in ('error', 'timeout', 'quality')),
  until timestamptz not null,
  -- doubles each time it fails its trial
  pause_ms int not null check (pause_ms between 1 and 86400000)
);

-- Every process hears of a change when it commits.
create function tell_breaker() returns trigger language plpgsql as $$
begin
  perform pg_notify('lichen_breakers', coalesce(new.worker_id, old.worker_id));
  return null;
end $$;
create trigger tell_breaker after insert or update or delete on breakers
  for each row execute function tell_breaker();
