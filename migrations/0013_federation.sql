-- Who this pool knows, and what they have said once.

create table peers (
  -- hex sha256 of its public key
  id text primary key check (id = encode(sha256(public_key), 'hex')),
  public_key bytea not null check (length(public_key) = 32),
  name text not null check (length(name) <= 200),
  -- as it gave it; whether it may be called is decided before each call
  url text not null check (length(url) <= 512),
  molecule_id text not null check (length(molecule_id) <= 200),
  capabilities jsonb not null,
  -- 0 unknown, 1 known, 2 trusted, 3 bonded, 4 settlement
  trust int not null check (trust between 0 and 4),
  revoked_at timestamptz,
  -- since when it is not heard in version 1
  spoke_v2_at timestamptz,
  met_at timestamptz not null,
  changed_at timestamptz not null,
  check (revoked_at is null or trust = 0)
);

-- Nobody becomes another by shaking hands again, and what was revoked stays so.
create function refuse_peer_change() returns trigger language plpgsql as $$
begin
  raise exception 'peer % keeps its key and its revocation', old.id using errcode = 'check_violation';
end $$;
create trigger peers_keep before update on peers for each row
  when (old.id <> new.id or old.public_key <> new.public_key or (old.revoked_at is not null and new.revoked_at is null))
  execute function refuse_peer_change();

create function tell_peer() returns trigger language plpgsql as $$
begin
  perform pg_notify('peers', new.id);
  return null;
end $$;
create trigger peers_told after insert or update on peers for each row execute function tell_peer();

-- Shared by all processes of the pool, so that a message counts once whichever of them it reaches.
create table nonces (
  peer_id text not null references peers (id),
  nonce text not null check (nonce ~ '^[0-9a-f]{16}$'),
  expires_at timestamptz not null,
  primary key (peer_id, nonce)
);
create index nonces_expires_at on nonces (expires_at);
