-- Lending between pools is switched while the pool runs: `accept` computes for others, `forward` lets others compute for this pool.
alter table federation_toggles drop constraint federation_toggles_name_check;
alter table federation_toggles add check (name in ('kill', 'read', 'write', 'accept', 'forward'));
insert into federation_toggles (name, is_on, changed_at, changed_by, reason) values
  ('accept', true, clock_timestamp(), 'default', ''),
  ('forward', true, clock_timestamp(), 'default', '');

-- Single tokens of users that count no more, whoever issued them, until they would have ended anyway.
create table revoked_tokens (
  issuer text not null check (length(issuer) = 64),
  id text not null check (length(id) between 1 and 64),
  until timestamptz not null,
  revoked_at timestamptz not null,
  revoked_by text not null check (length(revoked_by) <= 200),
  primary key (issuer, id)
);
create index revoked_tokens_until on revoked_tokens (until);
