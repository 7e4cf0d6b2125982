-- Names of kernel classes: who computes this text with this model file and gets this hash belongs to it. Shared by all processes of the pool.
create table kernel_classes (
  -- of the model file
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  kernel text not null check (length(kernel) between 1 and 200),
  text text not null check (length(text) between 1 and 4096),
  -- of the logits
  hash text not null check (hash ~ '^[0-9a-f]{64}$'),
  found_at timestamptz not null,
  -- a connected worker was found to be of it
  seen_at timestamptz not null,
  primary key (digest, kernel)
);
create index kernel_classes_seen on kernel_classes (seen_at);
