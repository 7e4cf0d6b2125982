-- The key of an epoch that is not told yet may be sealed anew, under another key file; it stays the key that was committed to.

create or replace function keep_epoch() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.key is null and new.epoch = old.epoch and new.commitment = old.commitment
     and (new.key is not null or new.disclosure is null) then
    return new;
  end if;
  raise exception 'epoch % stays as it is', old.epoch using errcode = 'check_violation';
end $$;
