import type { Sql } from '#storage'

/** A worker that was slashed here, and an answer of it that a check refuted. */
export interface SlashedWorker {
  readonly workerId: string
  readonly jobId: string
}

/** Slashes that were carried out for answers, not for what was said of others, and that no granted appeal has undone; the newest, `max` at most. */
export async function slashedWorkers(sql: Sql, max: number): Promise<SlashedWorker[]> {
  return sql<SlashedWorker[]>`
    select a.worker_id as "workerId", (
             select c.job_id from checks c
              where c.worker_id = a.worker_id and c.model = a.model and c.state = 'hit' order by c.ended_at desc limit 1) as "jobId"
      from standing_acts a
     where a.act = 'slash' and a.duty = 'serve' and a.done_at is not null
       and not exists (
         select from appeals p where p.worker_id = a.worker_id and p.outcome = 'granted' and p.decided_at >= a.decided_at)
       and exists (select from checks c where c.worker_id = a.worker_id and c.model = a.model and c.state = 'hit')
     order by a.decided_at desc limit ${max}`
}
