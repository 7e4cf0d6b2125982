-- How peers are trusted, by whose act, and how they have done.

-- One pool bonds with another when the humans of both have said so in writing. Kept for ever; a withdrawn one counts no more.
create table peer_acceptances (
  peer_id text not null references peers (id),
  -- the peer's word about this pool, or this pool's about the peer
  by_peer boolean not null,
  -- 3 bonded, 4 settlement
  level int not null check (level in (3, 4)),
  -- of the pool that gives it, over spec/federation.md "Acceptances"
  at timestamptz not null,
  signature bytea not null check (length(signature) = 64),
  withdrawn_at timestamptz,
  primary key (peer_id, by_peer, level, at)
);

-- What came of the calls to a peer, ever and since `window_at`.
create table peer_records (
  peer_id text primary key references peers (id),
  successes bigint not null,
  failures bigint not null,
  -- answers that were forged, receipts that did not hold, statements that differed
  mismatches bigint not null,
  window_at timestamptz not null,
  window_successes int not null,
  window_failures int not null,
  window_mismatches int not null,
  last_why text not null check (length(last_why) <= 300)
);
