import { sha256 } from '#crypto'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, fromDatabase } from '#storage'
import { assertNotBlocked } from './block-operator.ts'
import { identityLimits } from './limits.ts'
import { checkName } from './owner-name.ts'
import { recordAct } from './record-act.ts'

export interface NewInvite {
  /** Name of the operator the worker will belong to; made when new. */
  readonly operator: string
  /** Life of the worker's key from its joining; {@link identityLimits.workerExpiresInMs} when absent. */
  readonly expiresInMs?: number
  /** Who invites, for the record. */
  readonly by: string
}

/** A one-time invitation. The token is here and nowhere else. */
export async function makeInvite(
  database: Database,
  runtime: Runtime,
  wish: NewInvite,
): Promise<{ id: string; token: Buffer; validUntil: number; expiresInMs: number }> {
  const expiresInMs = checkExpiry(wish.expiresInMs ?? identityLimits.workerExpiresInMs)
  const operator = checkName(wish.operator, 'An operator', 'operator')
  const token = runtime.randomBytes(32)
  const id = runtime.uuid()
  const now = runtime.now()
  const validUntil = now + identityLimits.inviteValidMs
  await database.transaction(async (tx) => {
    await tx`insert into operators (id, name, created_at) values (${runtime.uuid()}, ${operator}, ${now})
             on conflict (name) do nothing`
    const [known] = await tx<{ blockedAt: number | null }[]>`
      select blocked_at as "blockedAt" from operators where name = ${operator}`
    assertNotBlocked(operator, known?.blockedAt)
    await tx`
      insert into invites (id, token_hash, operator_id, expires_in_ms, created_by, created_at, valid_until)
      select ${id}, ${sha256(token)}, id, ${expiresInMs}, ${wish.by}, ${now}, ${validUntil}
        from operators where name = ${operator}`
    await tx`insert into worker_key_acts (act, invite_id, by_whom, at) values ('invited', ${id}, ${wish.by}, ${now})`
    const details = { operator, expires_in_ms: expiresInMs }
    await recordAct(tx, wish.by, { action: 'invite.create', subject: `invite:${id}`, details })
  })
  return { id, token, validUntil, expiresInMs }
}

/** @throws PoolError invalid_request unless it is between a second and a year. */
export function checkExpiry(ms: number): number {
  if (Number.isSafeInteger(ms) && ms >= 1_000 && ms <= identityLimits.workerExpiresInMsMax) return ms
  throw new PoolError(
    'invalid_request',
    'A worker’s key lives between one second and 366 days.',
    'Write --expires 30d.',
    {
      param: 'expires',
    },
  )
}

/** An invitation as it is listed: everything but the token. */
export interface InviteRecord {
  readonly id: string
  /** Name of the operator. */
  readonly operator: string
  readonly createdBy: string
  readonly createdAt: number
  /** Until when it may be used. */
  readonly validUntil: number
  /** Life of the worker's key from its joining. */
  readonly expiresInMs: number
  /** The worker that joined with it. */
  readonly usedBy: string | null
  readonly usedAt: number | null
}

/** Somebody who lends workers. */
export interface OperatorRecord {
  readonly id: string
  readonly name: string
  readonly createdAt: number
  /** Since when nobody lends for it. */
  readonly blockedAt: number | null
  /** Worker keys that are not revoked. */
  readonly workers: number
}

interface Page {
  readonly after?: string
  readonly limit?: number
}

const firstId = '00000000-0000-0000-0000-000000000000'
const rowsOf = (page: Page) => Math.min(page.limit ?? 100, identityLimits.pageRowsMax)

/** Oldest first, used and expired ones included. */
export async function listInvites({ sql }: Database, page: Page): Promise<InviteRecord[]> {
  const rows = await fromDatabase(sql<(Omit<InviteRecord, 'expiresInMs'> & { expiresInMs: bigint })[]>`
    select i.id, o.name as operator, i.created_by as "createdBy", i.created_at as "createdAt",
           i.valid_until as "validUntil", i.expires_in_ms as "expiresInMs", i.used_by as "usedBy", i.used_at as "usedAt"
      from invites i join operators o on o.id = i.operator_id
     where i.id > ${page.after ?? firstId} order by i.id limit ${rowsOf(page)}`)
  return rows.map((row) => ({ ...row, expiresInMs: Number(row.expiresInMs) }))
}

/** Oldest first. */
export async function listOperators({ sql }: Database, page: Page): Promise<OperatorRecord[]> {
  const rows = await fromDatabase(sql<OperatorRecord[]>`
    select o.id, o.name, o.created_at as "createdAt", o.blocked_at as "blockedAt",
           (select count(*)::int from worker_keys w where w.operator_id = o.id and w.standing <> 'revoked') as workers
      from operators o where o.id > ${page.after ?? firstId} order by o.id limit ${rowsOf(page)}`)
  return [...rows]
}
