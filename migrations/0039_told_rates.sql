-- Check rates that orders of a told epoch name, as its disclosure gives them: what was told can be read for good.
create table told_rates (
  epoch bigint primary key references epochs,
  -- lines of the disclosure, brotli (RFC 7932)
  tables bytea not null
);

create trigger append_only before update or delete or truncate on told_rates
  for each statement execute function refuse_change();
