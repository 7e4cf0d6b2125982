-- What was ordered and what came of it, in the bytes that were signed. Neither holds content: only salted commitments to it.

create table orders (
  job_id uuid primary key,
  -- sha256 by which assignments and statements name it
  hash bytea not null unique check (octet_length(hash) = 32),
  -- as it was received or made: [bytes, key, signature …] in dag-cbor
  wire bytea not null check (octet_length(wire) <= 65536),
  -- raw public key that signed: a payer's, or the pool's as custodian
  payer bytea not null check (octet_length(payer) = 32),
  -- null: the pool signed
  seq bigint check (seq >= 0)
);
create unique index orders_payer_seq on orders (payer, seq) where seq is not null;

-- Greatest sequence number a payer key has used; one that lies too far below is refused.
create table payer_windows (
  payer bytea primary key check (octet_length(payer) = 32),
  high bigint not null
);

create table receipts (
  job_id uuid primary key,
  -- dag-cbor array of the worker statements' wire forms, in the order of the pool statement
  workers bytea not null,
  -- bytes of the pool statement; the log's checkpoint is its signature
  statement bytea not null
);

create trigger append_only before update or delete or truncate on orders
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on receipts
  for each statement execute function refuse_change();

-- Whether the worker vouched for what it sent in this attempt.
alter table segments add column signed boolean not null default false;
