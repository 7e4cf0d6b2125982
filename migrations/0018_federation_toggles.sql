-- What an operator switches on and off between pools: `kill` stops everything, `read` and `write` are the two kinds of admin requests.
create table federation_toggles (
  name text primary key check (name in ('kill', 'read', 'write')),
  is_on boolean not null,
  changed_at timestamptz not null,
  changed_by text not null check (length(changed_by) <= 200),
  reason text not null check (length(reason) <= 200)
);
insert into federation_toggles (name, is_on, changed_at, changed_by, reason) values
  ('kill', false, clock_timestamp(), 'default', ''),
  ('read', true, clock_timestamp(), 'default', ''),
  ('write', false, clock_timestamp(), 'default', '');

-- A switch that is not there cannot be read, and would leave federation off for good.
create function keep_toggle() returns trigger language plpgsql as $$
begin
  raise exception 'the toggles of federation stay' using errcode = 'check_violation';
end $$;
create trigger keep_toggle before delete or truncate on federation_toggles
  for each statement execute function keep_toggle();

-- Every process hears of a change when it commits.
create function tell_toggle() returns trigger language plpgsql as $$
begin
  perform pg_notify('federation_toggles', new.name);
  return null;
end $$;
create trigger tell_toggle after insert or update on federation_toggles for each row execute function tell_toggle();
