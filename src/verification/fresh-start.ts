import type { Sql } from '#storage'

/** Of `checks c`: those that ended after the worker's last fresh start, and so count. */
export const countsStill = (sql: Sql) => sql`
  not exists (select from fresh_starts f where f.worker_id = c.worker_id and f.at >= c.ended_at)`
