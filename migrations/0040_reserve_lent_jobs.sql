-- Takes a job of another pool, if what that owes and what else is reserved for it leave room. One after the other for each pool, whichever
-- process they reached; one statement, so it waits for no administrative act and none for it.
create function reserve_lent_job(who text, origin text, asked_at timestamptz, amount bigint, credit bigint, since timestamptz)
returns text language plpgsql as $$
begin
  perform 1 from peers where id = who for no key update;
  insert into lent_jobs (peer_id, origin_request_id, at, reserved) values (who, origin, asked_at, amount) on conflict do nothing;
  if not found then return 'again'; end if;
  if credit + (select posted - held from accounts where name = 'peer:' || who)
     >= (select sum(reserved) from lent_jobs where peer_id = who and reserved is not null and at > since) then
    return 'reserved';
  end if;
  delete from lent_jobs where peer_id = who and origin_request_id = origin;
  return 'credit';
end $$;
