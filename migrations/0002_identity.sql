-- Who may ask (API keys) and who may work (operators, invites, worker keys).
-- Times come from the program that writes, except changed_at: followers compare it with the server's clock.

create table api_keys (
  id uuid primary key,
  name text not null check (length(name) between 1 and 200),
  -- sha256 of the key; the key itself is shown once and kept nowhere
  key_hash bytea not null unique check (octet_length(key_hash) = 32),
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  -- null: every model
  models text[],
  requests_per_minute int check (requests_per_minute > 0),
  -- share of the pool when it is full; 1 is usual
  weight double precision not null default 1 check (weight > 0),
  changed_at timestamptz not null default clock_timestamp()
);
create index api_keys_changed on api_keys (changed_at);

create table operators (
  id uuid primary key,
  name text not null unique check (length(name) between 1 and 200),
  created_at timestamptz not null
);

create table invites (
  id uuid primary key,
  token_hash bytea not null unique check (octet_length(token_hash) = 32),
  operator_id uuid not null references operators,
  -- life of the worker's key, counted from its joining
  expires_in_ms bigint not null check (expires_in_ms > 0),
  created_by text not null,
  created_at timestamptz not null,
  valid_until timestamptz not null,
  used_by text check (used_by ~ '^[0-9a-f]{64}$'),
  used_at timestamptz,
  check ((used_by is null) = (used_at is null))
);

create table worker_keys (
  -- sha256 of the raw Ed25519 public key, hex
  id text primary key check (id ~ '^[0-9a-f]{64}$'),
  public_key bytea not null check (octet_length(public_key) = 32),
  operator_id uuid not null references operators,
  -- null: approved by its operator's own start, without an invite
  invite_id uuid references invites,
  standing text not null check (standing in ('pending', 'approved', 'revoked')),
  joined_at timestamptz not null,
  expires_at timestamptz not null,
  -- what a renewal grants when it names nothing else
  expires_in_ms bigint not null check (expires_in_ms > 0),
  changed_at timestamptz not null default clock_timestamp()
);
create index worker_keys_changed on worker_keys (changed_at);
create index worker_keys_invite on worker_keys (invite_id);

-- Who did what to a worker's key, and when. Only ever added to.
create table worker_key_acts (
  seq bigint generated always as identity primary key,
  act text not null check (act in ('invited', 'joined', 'approved', 'renewed', 'revoked')),
  -- null: the invite was made, nobody has used it yet
  worker_id text references worker_keys,
  invite_id uuid references invites,
  by_whom text not null,
  at timestamptz not null,
  -- the key's expiry after this act
  expires_at timestamptz,
  check (worker_id is not null or act = 'invited')
);
create index worker_key_acts_worker on worker_key_acts (worker_id);
create index worker_key_acts_invite on worker_key_acts (invite_id);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name;
end $$;
create trigger append_only before update or delete or truncate on worker_key_acts
  for each statement execute function refuse_change();

-- Every replica hears of a change when it commits; pg_notify's payload is the row's id.
create function tell_change() returns trigger language plpgsql as $$
begin
  new.changed_at := clock_timestamp();
  perform pg_notify(tg_argv[0], new.id::text);
  return new;
end $$;
create trigger tell_change before insert or update on api_keys
  for each row execute function tell_change('lichen_api_keys');
create trigger tell_change before insert or update on worker_keys
  for each row execute function tell_change('lichen_workers');

-- A key nobody knows presents an invite: used at most once, and the same key may present its own again.
create function join_worker(p_id text, p_public_key bytea, p_token_hash bytea, p_now timestamptz)
returns text language plpgsql as $$
declare found_invite invites;
begin
  select * into found_invite from invites where token_hash = p_token_hash for update;
  if not found then return 'invite_invalid'; end if;
  if found_invite.used_by = p_id then return 'joined'; end if;
  if found_invite.used_by is not null then return 'invite_used'; end if;
  if found_invite.valid_until <= p_now then return 'invite_expired'; end if;
  insert into worker_keys (id, public_key, operator_id, invite_id, standing, joined_at, expires_at, expires_in_ms)
    values (p_id, p_public_key, found_invite.operator_id, found_invite.id, 'pending', p_now,
            p_now + found_invite.expires_in_ms * interval '1 millisecond', found_invite.expires_in_ms)
    on conflict (id) do nothing;
  -- it joined with another invite in the meantime: this one stays good
  if not found then return 'joined'; end if;
  update invites set used_by = p_id, used_at = p_now where id = found_invite.id;
  insert into worker_key_acts (act, worker_id, invite_id, by_whom, at, expires_at)
    values ('joined', p_id, found_invite.id, 'worker', p_now,
            p_now + found_invite.expires_in_ms * interval '1 millisecond');
  return 'joined';
end $$;
