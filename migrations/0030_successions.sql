-- Another key in the place of a peer's.

-- What the old key has said, until a human here confirms one of it. Two rows of one peer: its key is in two hands.
create table peer_successions (
  peer_id text not null references peers (id),
  successor_id text not null check (successor_id ~ '^[0-9a-f]{64}$'),
  -- signed notes (spec/federation.md "Succession"), oldest first
  notes jsonb not null,
  seen_at timestamptz not null,
  confirmed_at timestamptz,
  confirmed_by text check (length(confirmed_by) <= 200),
  primary key (peer_id, successor_id)
);

-- Who stands where this peer stood; its own key counts no more.
alter table peers add column succeeded_by text references peers (id);
