-- Pools whose tokens count here, each as one API key: its models, its limits, its account.
create table token_peers (
  peer_id text primary key references peers (id),
  api_key_id uuid not null references api_keys (id),
  allowed_at timestamptz not null,
  allowed_by text not null
);
