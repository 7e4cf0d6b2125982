-- An acceptance of a bond is the word of an admin, signed on the admin's machine. What the key of a pool had signed alone counts no more.

alter table peer_acceptances add column admin_key_id text check (admin_key_id ~ '^[0-9a-f]{64}$');
update peers set trust = least(trust, 2), changed_at = now()
 where id in (select peer_id from peer_acceptances where withdrawn_at is null);
update peer_acceptances set withdrawn_at = now() where withdrawn_at is null;
alter table peer_acceptances add check (admin_key_id is not null or withdrawn_at is not null);

-- of two admins who accept within one second both are kept, and each signature counts once
alter table peer_acceptances drop constraint peer_acceptances_pkey;
alter table peer_acceptances add primary key (peer_id, by_peer, signature);
