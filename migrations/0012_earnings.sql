-- What the pool itself moves: earnings that were held long enough, what a convicted worker loses, what its users get back.

alter table transfers drop constraint transfers_kind_check;
alter table transfers add constraint transfers_kind_check
  check (kind in ('charge', 'grant', 'bootstrap', 'payment', 'release', 'slash', 'refund'));
create index transfers_taken on transfers (at) where kind in ('slash', 'refund');

-- `debt`: refunds that nobody's money was left for. What stands below zero is what the pool owes for its workers.
alter table accounts drop constraint accounts_kind_check;
alter table accounts add constraint accounts_kind_check check (kind in
  ('user', 'worker', 'pool', 'treasury', 'issuance', 'refund_reserve', 'held', 'stake', 'peer', 'debt'));

create or replace function floor_of(kind text) returns bigint language sql immutable as $$
  select case kind when 'issuance' then -4000000000000000000 when 'peer' then -1000000000000000000
                   when 'debt' then -1000000000000000000 else 0 end
$$;
insert into accounts (name, kind, floor) values ('debt', 'debt', floor_of('debt'));

-- Of the accounts that hold earnings, in order of name: what came in before `until` and is not among the `newest` payments,
-- less what has gone out. First in, first out.
create function matured_earnings(behind text, until timestamptz, newest int, most int)
returns table (name text, posted bigint, matured bigint) language plpgsql stable
  set enable_seqscan = off set enable_bitmapscan = off
as $$
begin
  return query
    with held as materialized (
      select a.id, a.name, a.posted from accounts a
       where a.kind = 'held' and a.posted > 0 and a.name > behind order by a.name limit most)
    select h.name, h.posted, greatest(0, coalesce(b.balance, 0) + coalesce(gone.amount, 0))::bigint
      from held h
      cross join lateral (
        select least(first_entry_since(h.id, until) - 1,
                     coalesce((select e.seq from entries e where e.account = h.id and e.amount > 0
                                order by e.seq desc offset newest limit 1), 0)) as seq) cut
      left join entries b on b.account = h.id and b.seq = cut.seq
      cross join lateral (
        select sum(e.amount)::bigint as amount from entries e
         where e.account = h.id and e.seq > cut.seq and e.amount < 0) gone;
end $$;

-- Since when nobody lends for this operator: a worker of it was convicted.
alter table operators add column blocked_at timestamptz;
