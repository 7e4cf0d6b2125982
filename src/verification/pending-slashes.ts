import type { Tx } from '#storage'

/** Something a conviction asks for that has not been done yet, or a trial that has not ended. */
export interface PendingSlash {
  /** `freeze`, `slash`, `block_operator`, `refund_users`, `call_tribunal`, or `tribunal` for one that sits. */
  readonly what: string
  readonly worker: string
  readonly model: string
  /** Milliseconds since 1970. */
  readonly since: number
}

/**
 * Slashing events under way, oldest first. Until the transaction ends nobody adds one: whoever would decide about a worker waits. The
 * tables are taken in the order in which decisions write them, so that the two never wait for each other.
 */
export async function pendingSlashes(tx: Tx, limit: number): Promise<PendingSlash[]> {
  await tx`lock table tribunals, standings, standing_acts in share row exclusive mode`
  const rows = await tx<PendingSlash[]>`
    select act as what, worker_id as worker, model, decided_at as since from standing_acts
     where done_at is null and act in ('freeze', 'slash', 'block_operator', 'refund_users', 'call_tribunal')
    union all
    select 'tribunal', worker_id, model, called_at from tribunals where ended_at is null
     order by since limit ${limit}`
  return [...rows]
}
