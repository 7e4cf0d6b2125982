-- Who the keys belong to: users with a role, what each key may spend, and the keys that sign grants.

-- The roles, least first. Kept beside src/identity/roles.ts, which a test compares.
create function role_rank(role text) returns int language sql immutable parallel safe as $$
  select array_position(array['user', 'auditor', 'operator', 'admin', 'owner'], role)
$$;

create table users (
  id uuid primary key,
  name text not null unique check (length(name) between 1 and 200),
  role text not null check (role_rank(role) is not null),
  -- raw Ed25519; orders signed with it are this user's own. One key pays for one user.
  payer_key bytea unique check (octet_length(payer_key) = 32),
  created_at timestamptz not null,
  disabled_at timestamptz
);

-- Everything that was there belongs to the owner. The id is a UUIDv7, so that users sort by age.
insert into users (id, name, role, created_at)
  select (substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7' || substr(gen_random_uuid()::text, 16))::uuid,
         'owner', 'owner', clock_timestamp()
    from (select lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') as ms) t;

-- A pool always has somebody who may do everything.
create function keep_an_owner() returns trigger language plpgsql as $$
begin
  if old.role <> 'owner' or old.disabled_at is not null then return coalesce(new, old); end if;
  if tg_op = 'UPDATE' and new.role = 'owner' and new.disabled_at is null then return new; end if;
  -- the lock orders two owners who remove each other: the second sees that it is alone
  perform from users where role = 'owner' and disabled_at is null and id <> old.id for update;
  if not found then
    raise exception 'user % is the last owner', old.name using errcode = 'check_violation';
  end if;
  return coalesce(new, old);
end $$;
create trigger keep_an_owner before update or delete on users for each row execute function keep_an_owner();

alter table api_keys
  add column user_id uuid references users,
  -- at most what its user may; 'user' computes and administers nothing
  add column role text not null default 'user' check (role_rank(role) is not null),
  -- micro-credits; null: no limit of its own
  add column budget_total bigint check (budget_total >= 0),
  add column budget_per_day bigint check (budget_per_day >= 0),
  add column tokens_per_minute int check (tokens_per_minute > 0),
  -- required: orders that the pool signs for this key's user are refused
  add column payer_signature text not null default 'optional' check (payer_signature in ('optional', 'required'));
update api_keys set user_id = (select id from users where name = 'owner');
alter table api_keys alter column user_id set not null;
create index api_keys_user on api_keys (user_id);

-- What changes for a user changes for its keys: followers of api_keys hear of it, and read the user with the key.
create function tell_keys_of_user() returns trigger language plpgsql as $$
begin
  update api_keys set user_id = user_id where user_id = new.id;
  return null;
end $$;
create trigger tell_keys_of_user after update on users for each row execute function tell_keys_of_user();

-- Public halves only: the private ones stay on the admins' machines.
create table admin_keys (
  -- sha256 of the raw Ed25519 public key, hex
  id text primary key check (id ~ '^[0-9a-f]{64}$'),
  public_key bytea not null unique check (octet_length(public_key) = 32),
  name text not null check (length(name) between 1 and 200),
  created_at timestamptz not null,
  revoked_at timestamptz,
  added_by text not null
);

-- A revoked key stays revoked, and nothing is forgotten: grants of the past name it.
create function keep_admin_key() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.revoked_at is null and new.id = old.id and new.public_key = old.public_key then
    return new;
  end if;
  raise exception 'admin key % stays as it is', old.id using errcode = 'check_violation';
end $$;
create trigger keep_admin_key before update or delete on admin_keys for each row execute function keep_admin_key();
