-- What is true of the whole pool: its identity, so that a database is never served by another pool's keys.
create table meta (
  key text primary key,
  value text not null
);
