import type { WorkerId } from '#protocol'
import { revisionOf } from './change-feed.ts'

/** What may happen to a worker's key. */
type WorkerActKind = 'invited' | 'joined' | 'approved' | 'renewed' | 'revoked'

/** Who did what to a worker's key, and when. */
export interface WorkerAct {
  readonly act: WorkerActKind
  /** `owner.key`, `key:<id>`, `self`, or `worker` for its own joining. */
  readonly by: string
  readonly at: number
  /** The key's expiry after this act; null for an invitation. */
  readonly expiresAt: number | null
}

/** A worker's key as it is listed. Times are milliseconds since the epoch. */
export interface WorkerRecord {
  readonly id: WorkerId
  /** Name of the operator it belongs to. */
  readonly operator: string
  readonly standing: 'pending' | 'approved' | 'revoked'
  readonly joinedAt: number
  readonly expiresAt: number
}

/** What the door needs to know of a worker that may come in. */
export interface WorkerAdmission {
  readonly standing: 'pending' | 'approved'
  readonly expiresAt: number
  readonly operator: string
}

/** A row as read, with what the change feed needs. */
export interface WorkerRow extends WorkerRecord {
  readonly publicKey: Buffer
  readonly expiresInMs: bigint
  readonly blocked: 'worker' | 'operator' | null
  readonly revision: bigint
}

/** Select list for {@link WorkerRow}, from `worker_keys w join operators o`. */
export const workerColumns = `w.id, o.name as operator, w.standing, w.joined_at as "joinedAt", w.expires_at as "expiresAt",
  w.public_key as "publicKey", w.expires_in_ms as "expiresInMs",
  case when exists (select from blocks b where b.kind = 'worker' and b.subject = w.id and b.lifted_at is null) then 'worker'
       when o.blocked_at is not null then 'operator' end as blocked, ${revisionOf('w')}`

export const workerTables = 'worker_keys w join operators o on o.id = w.operator_id'

export function toWorkerRecord({ id, operator, standing, joinedAt, expiresAt }: WorkerRow): WorkerRecord {
  return { id, operator, standing, joinedAt, expiresAt }
}
