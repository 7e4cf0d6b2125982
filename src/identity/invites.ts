import { sha256 } from '#crypto'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import { identityLimits } from './limits.ts'

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
  const operator = checkName(wish.operator)
  const token = runtime.randomBytes(32)
  const id = runtime.uuid()
  const now = runtime.now()
  const validUntil = now + identityLimits.inviteValidMs
  await database.transaction(async (tx) => {
    await tx`insert into operators (id, name, created_at) values (${runtime.uuid()}, ${operator}, ${now})
             on conflict (name) do nothing`
    await tx`
      insert into invites (id, token_hash, operator_id, expires_in_ms, created_by, created_at, valid_until)
      select ${id}, ${sha256(token)}, id, ${expiresInMs}, ${wish.by}, ${now}, ${validUntil}
        from operators where name = ${operator}`
    await tx`insert into worker_key_acts (act, invite_id, by_whom, at) values ('invited', ${id}, ${wish.by}, ${now})`
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

function checkName(name: string): string {
  const trimmed = name.trim()
  if (trimmed !== '' && trimmed.length <= identityLimits.nameCharsMax) return trimmed
  throw new PoolError(
    'invalid_request',
    'An operator needs a name of at most 200 characters.',
    'Write --operator NAME.',
    {
      param: 'operator',
    },
  )
}
