-- An account of every user, made with the user: who was never credited has nothing, and is no stranger.
create function make_user_account() returns trigger language plpgsql as $$
begin
  perform learn_account('user:' || new.id, 'user', null);
  return null;
end $$;
create trigger make_account after insert on users for each row execute function make_user_account();

select learn_account('user:' || id, 'user', null) from users order by id;
