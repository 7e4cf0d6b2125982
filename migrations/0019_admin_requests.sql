-- What pools ask of each other's humans, and with whose signature.

-- Admin keys of other pools, each registered here by a human: whoever else signs for that pool's admins is nobody.
create table peer_admin_keys (
  peer_id text not null references peers (id),
  -- hex sha256 of the raw Ed25519 key
  id text not null check (id = encode(sha256(public_key), 'hex')),
  public_key bytea not null check (octet_length(public_key) = 32),
  name text not null check (length(name) between 1 and 200),
  added_at timestamptz not null,
  added_by text not null,
  revoked_at timestamptz,
  primary key (peer_id, id)
);
create function keep_peer_admin_key() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.revoked_at is null and new.id = old.id and new.peer_id = old.peer_id then return new; end if;
  raise exception 'admin key % stays as it is', old.id using errcode = 'check_violation';
end $$;
create trigger keep_peer_admin_key before update or delete on peer_admin_keys
  for each row execute function keep_peer_admin_key();

-- in    pending ──▶ rejected · expired          approved ──▶ executed · executed_no_callback · failed
--          └──▶ approved ──┘                    executed_no_callback ──▶ executed
-- out   pending ──▶ executed · rejected · failed · expired
create table admin_requests (
  direction text not null check (direction in ('in', 'out')),
  request_id text not null check (request_id ~ '^fadm_[0-9a-f]{16}$'),
  -- who asked (in), who was asked (out)
  peer_id text not null references peers (id),
  action text not null check (action in ('query_events', 'circuit_reset')),
  params jsonb not null,
  -- shown, never used
  email text check (length(email) <= 200),
  -- of the envelope it came in
  envelope smallint check (envelope in (1, 2)),
  -- [{key_id, signed_at, signature}, …] of admins: on the request, and on the decision so far
  request_signatures jsonb not null default '[]',
  decision_signatures jsonb not null default '[]',
  state text not null check (state in
    ('pending', 'rejected', 'expired', 'approved', 'executed', 'failed', 'executed_no_callback')),
  created_at timestamptz not null,
  expires_at timestamptz not null,
  decided_at timestamptz,
  decided_by text,
  -- when it was approved: what the cooldown and the reciprocal guard count from
  approved_at timestamptz,
  ended_at timestamptz,
  -- what the guards saw when an approval overrode them: whole, and for ever
  guard jsonb,
  -- in: what is to be called back, forgotten once it is; out: what was called back
  result jsonb,
  error text check (length(error) <= 500),
  callback_tries int not null default 0,
  -- null: there is nothing to call back, or it has landed
  callback_due_at timestamptz,
  called_back_at timestamptz,
  primary key (direction, request_id)
);
create index admin_requests_pending on admin_requests (expires_at) where state = 'pending';
create index admin_requests_peer on admin_requests (peer_id, direction, action, approved_at);
create index admin_requests_due on admin_requests (callback_due_at) where callback_due_at is not null;

create function keep_admin_request() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and (new.direction, new.request_id, new.peer_id, new.action, new.params, new.created_at)
     = (old.direction, old.request_id, old.peer_id, old.action, old.params, old.created_at)
     and (old.guard is null or new.guard = old.guard)
     and (old.approved_at is null or new.approved_at = old.approved_at)
     and (old.state = new.state
       or (old.direction = 'in' and (
         (old.state = 'pending' and new.state in ('approved', 'rejected', 'expired'))
         or (old.state = 'approved' and new.state in ('executed', 'executed_no_callback', 'failed'))
         or (old.state = 'executed_no_callback' and new.state = 'executed')))
       or (old.direction = 'out' and old.state = 'pending' and new.state in ('executed', 'rejected', 'failed', 'expired')))
  then return new; end if;
  raise exception 'admin request % does not go from % to %, and stays', old.request_id, old.state, new.state
    using errcode = 'check_violation';
end $$;
create trigger keep_admin_request before update or delete on admin_requests
  for each row execute function keep_admin_request();
create trigger append_only before truncate on admin_requests for each statement execute function refuse_change();
