import { sha256 } from '#crypto'
import { PoolError, type WorkerId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Tx } from '#storage'
import { identityLimits } from './limits.ts'
import { recordAct } from './record-act.ts'

export interface NewRotation {
  /** Name of one operator; all but those `except` names when absent. */
  readonly operator?: string | undefined
  /** Operators that keep their keys, by name: the pool's own. */
  readonly except: readonly string[]
  /** Keys that joined later stay good. Milliseconds since 1970. */
  readonly joinedBefore: number
  readonly because: string
  readonly by: string
}

/** What one step has done; the next one is due while `more`. */
export interface RotationStep {
  readonly rotated: readonly RotatedWorker[]
  readonly more: boolean
}

interface RotatedWorker {
  /** Whose key was revoked. */
  readonly worker: WorkerId
  readonly operator: string
  /** For its new key; undefined for an operator that is blocked and for a worker that is. */
  readonly token?: Buffer
}

interface Row {
  readonly id: WorkerId
  readonly operatorId: string
  readonly operator: string
  readonly expiresAt: number
  readonly expiresInMs: bigint
  readonly barred: boolean
}

/**
 * After an incident nobody knows whose key was copied: every key is revoked, and its worker comes in again with a new one and a new
 * invite of the same operator, as a newcomer who is checked and approved like any other.
 * Revokes at most {@link identityLimits.rotatedKeysMax} keys, oldest first by id, in one transaction.
 * @throws PoolError not_found when there is no such operator: after an incident nobody may take a slip of the pen for a rotation.
 */
export async function rotateWorkers(database: Database, runtime: Runtime, wish: NewRotation): Promise<RotationStep> {
  return database.transaction(async (tx) => {
    if (wish.operator !== undefined) await refuseUnknown(tx, wish.operator)
    const rows = await keysToRotate(tx, wish)
    const meant = rows.slice(0, identityLimits.rotatedKeysMax)
    const rotated: RotatedWorker[] = []
    for (const row of meant) {
      await revoke(tx, row, wish.by, runtime.now())
      const token = row.barred ? undefined : await inviteAgain(tx, runtime, row, wish.by)
      rotated.push({ worker: row.id, operator: row.operator, ...(token ? { token } : {}) })
    }
    if (meant.length > 0) {
      const details = { operator: wish.operator ?? null, workers: meant.length, because: wish.because }
      await recordAct(tx, wish.by, { action: 'workers.rotate', subject: 'workers', details })
    }
    return { rotated, more: rows.length > meant.length }
  })
}

async function refuseUnknown(tx: Tx, operator: string): Promise<void> {
  const found = await tx`select from operators where name = ${operator}`
  if (found.length > 0) return
  throw new PoolError('not_found', `There is no operator ${operator}.`, 'See `lichen operators ls`.')
}

function keysToRotate(tx: Tx, { operator, except, joinedBefore }: NewRotation): Promise<readonly Row[]> {
  return tx<Row[]>`
    select w.id, o.id as "operatorId", o.name as operator, w.expires_at as "expiresAt", w.expires_in_ms as "expiresInMs",
           o.blocked_at is not null
             or exists (select from blocks b where b.kind = 'worker' and b.subject = w.id and b.lifted_at is null) as barred
      from worker_keys w join operators o on o.id = w.operator_id
     where w.standing <> 'revoked' and w.joined_at < ${joinedBefore}::timestamptz
       and (${operator ?? null}::text is null or o.name = ${operator ?? null}) and not o.name = any(${[...except]}::text[])
     order by w.id limit ${identityLimits.rotatedKeysMax + 1} for update of w`
}

async function revoke(tx: Tx, { id, operator, expiresAt }: Row, by: string, now: number): Promise<void> {
  await tx`update worker_keys set standing = 'revoked' where id = ${id}`
  await tx`insert into worker_key_acts (act, worker_id, by_whom, at, expires_at) values ('revoked', ${id}, ${by}, ${now}, ${expiresAt})`
  await recordAct(tx, by, {
    action: 'worker.revoke',
    subject: `worker:${id}`,
    details: { operator, expires_at: expiresAt },
  })
}

async function inviteAgain(tx: Tx, runtime: Runtime, row: Row, by: string): Promise<Buffer> {
  const token = runtime.randomBytes(32)
  const id = runtime.uuid()
  const now = runtime.now()
  const expiresInMs = Number(row.expiresInMs)
  await tx`
    insert into invites (id, token_hash, operator_id, expires_in_ms, created_by, created_at, valid_until)
    values (${id}, ${sha256(token)}, ${row.operatorId}, ${expiresInMs}, ${by}, ${now}, ${now + identityLimits.inviteValidMs})`
  await tx`insert into worker_key_acts (act, invite_id, by_whom, at) values ('invited', ${id}, ${by}, ${now})`
  const details = { operator: row.operator, expires_in_ms: expiresInMs }
  await recordAct(tx, by, { action: 'invite.create', subject: `invite:${id}`, details })
  return token
}
