-- Since when a pool says that it speaks version 2: it is called in it from then on.
alter table peers add column offers_v2_at timestamptz;
