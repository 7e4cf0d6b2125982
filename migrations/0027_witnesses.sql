-- What witnesses have seen of each other's logs. Kept outside the log of either: that is what it is good for.

-- Checkpoints of bonded pools that go on from each other, and this pool's signature under each.
create table witnessed (
  pool_id text not null references peers (id),
  generation int not null check (generation > 0),
  size bigint not null check (size >= 0),
  root bytea not null check (octet_length(root) = 32),
  note text not null check (length(note) <= 1000),
  -- Unix seconds of the signature
  time bigint not null,
  cosignature bytea not null check (octet_length(cosignature) = 64),
  primary key (pool_id, generation, size)
);

-- The newest checkpoint of this pool that each witness has signed.
create table vouchers (
  peer_id text primary key references peers (id),
  generation int not null check (generation > 0),
  size bigint not null check (size >= 0),
  note text not null check (length(note) <= 1000),
  time bigint not null,
  cosignature bytea not null check (octet_length(cosignature) = 64)
);
