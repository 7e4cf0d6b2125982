-- Whether other pools may compute what is asked with the key.
alter table api_keys add column forwarding boolean not null default true;
