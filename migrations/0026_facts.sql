-- What pools say to all others, signed by the one that says it; and what pools have seen of each other's logs.

-- One row for each author, locked while its facts are added.
create table fact_authors (
  author text primary key check (length(author) = 64),
  facts int not null check (facts >= 0)
);

create table facts (
  -- sha256 over what is signed
  hash bytea primary key check (octet_length(hash) = 32),
  -- in which order they came here: what another pool has not been told yet
  pos bigint generated always as identity unique,
  author text not null references fact_authors (author),
  generation int not null,
  kind text not null check (length(kind) <= 32),
  name text not null check (length(name) between 1 and 200),
  ms bigint not null,
  count int not null,
  -- the author's fact before it
  prev bytea check (octet_length(prev) = 32),
  expires bigint,
  taken_back boolean not null,
  -- as it was sent
  wire bytea not null check (octet_length(wire) <= 16384),
  -- the pool that brought it
  via text not null check (length(via) = 64),
  received_at timestamptz not null,
  -- whether it counts, as computed from all facts of its author
  counts boolean not null,
  -- put aside by a human, with all that go on from it
  discarded boolean not null default false
);
create index facts_name on facts (author, kind, name, ms desc, count desc);
create index facts_kind on facts (kind, author, name);

-- Two facts of one author that contradict each other, and nobody has decided yet.
create table fact_faults (
  first bytea not null references facts (hash),
  second bytea not null references facts (hash),
  author text not null references fact_authors (author),
  kind text not null check (kind in ('fork', 'order')),
  found_at timestamptz not null,
  primary key (first, second)
);

-- Facts of a peer that were refused: they are not asked for again for a while, and not told to others.
create table fact_quarantine (
  peer_id text not null references peers (id),
  hash bytea not null check (octet_length(hash) = 32),
  code text not null,
  until timestamptz not null,
  primary key (peer_id, hash)
);
create index fact_quarantine_until on fact_quarantine (until);

-- How far a peer's facts were read.
create table fact_cursors (
  peer_id text primary key references peers (id),
  pos bigint not null,
  synced_at timestamptz,
  problem text check (length(problem) <= 300)
);

-- What a human should look at: nothing happens by itself but that checks become more frequent.
create table federation_notices (
  id uuid primary key,
  at timestamptz not null,
  -- the pool that said it
  peer_id text not null check (length(peer_id) = 64),
  kind text not null check (kind in ('fault', 'revocation', 'slash', 'fork', 'rollback', 'loss')),
  -- whom it is about: a pool, a worker
  subject text not null check (length(subject) <= 200),
  text text not null check (length(text) <= 1000),
  details jsonb not null,
  -- same thing, said again
  same text not null unique check (length(same) <= 200),
  closed_at timestamptz,
  closed_by text check (length(closed_by) <= 200)
);
