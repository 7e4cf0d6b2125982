-- What a job of another pool may cost at most, in micro-credits, while it is being accepted: afterwards its hold says so. Every process of
-- the pool counts it against what that pool may owe.
alter table lent_jobs add column reserved bigint check (reserved >= 0);
create index lent_jobs_reserved on lent_jobs (peer_id) where reserved is not null;
