import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Tx } from '#storage'
import { recordAct } from './record-act.ts'

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

interface Operator {
  readonly id: string
  readonly name: string
  readonly blockedAt: number | null
}

/** Nobody lends for a blocked operator: its keys are revoked in the same transaction, and none is invited, approved or renewed. */
export async function blockOperator(
  database: Database,
  runtime: Runtime,
  { operatorId, by, because }: { readonly operatorId: string; readonly by: string; readonly because: string },
): Promise<void> {
  await database.transaction(async (tx) => {
    const operator = await lockOperator(tx, operatorId)
    if (operator.blockedAt !== null) return
    const now = runtime.now()
    await tx`update operators set blocked_at = ${now}::timestamptz, blocked_because = ${because} where id = ${operator.id}`
    const workers = await tx<{ id: string; expiresAt: number }[]>`
      update worker_keys set standing = 'revoked' where operator_id = ${operator.id} and standing <> 'revoked'
      returning id, expires_at as "expiresAt"`
    for (const { id, expiresAt } of workers) {
      await tx`insert into worker_key_acts (act, worker_id, by_whom, at, expires_at)
               values ('revoked', ${id}, ${by}, ${now}, ${expiresAt})`
      const details = { operator: operator.name, expires_at: expiresAt }
      await recordAct(tx, by, { action: 'worker.revoke', subject: `worker:${id}`, details })
    }
    const details = { operator: operator.name, because }
    await recordAct(tx, by, { action: 'operator.block', subject: `operator:${operator.id}`, details })
  })
}

/** An admin's decision. Revoked keys stay revoked until each is renewed. @throws PoolError not_found, conflict. */
export async function unblockOperator(database: Database, operatorId: string, by: string): Promise<void> {
  await database.transaction(async (tx) => {
    const operator = await lockOperator(tx, operatorId)
    if (operator.blockedAt === null) {
      throw new PoolError('conflict', `Operator ${operator.name} is not blocked.`, 'Nothing is to be done.')
    }
    await lift(tx, operator, by)
  })
}

/** Of a worker whose appeal was granted, unless one of the `convicted` belongs to the same operator. */
export async function unblockOperatorOf(
  tx: Tx,
  workerId: string,
  convicted: readonly string[],
  by: string,
): Promise<void> {
  const [found] = await tx<{ id: string }[]>`
    select o.id from worker_keys w join operators o on o.id = w.operator_id
     where w.id = ${workerId} and o.blocked_at is not null
       and not exists (select from worker_keys c where c.operator_id = o.id and c.id = any(${[...convicted]}::text[]))`
  if (found) await lift(tx, await lockOperator(tx, found.id), by)
}

async function lift(tx: Tx, { id, name }: Operator, by: string): Promise<void> {
  await tx`update operators set blocked_at = null, blocked_because = null where id = ${id}`
  await recordAct(tx, by, { action: 'operator.unblock', subject: `operator:${id}`, details: { operator: name } })
}

/** @throws PoolError conflict. */
export function assertNotBlocked(operator: string, blockedAt: number | null | undefined): void {
  if (blockedAt === null || blockedAt === undefined) return
  throw new PoolError(
    'conflict',
    `Operator ${operator} is blocked: a worker of it was convicted of false answers, or an admin said so.`,
    'See `lichen operators ls`; an admin may lift the block: `lichen operators unblock ID`.',
  )
}

/** By id, or by the whole name. */
async function lockOperator(tx: Tx, idOrName: string): Promise<Operator> {
  const [row] = await tx<Operator[]>`
    select id, name, blocked_at as "blockedAt" from operators
     where id = ${uuid.test(idOrName) ? idOrName : null}::uuid or name = ${idOrName} order by name = ${idOrName} limit 1 for update`
  if (row) return row
  throw new PoolError('not_found', `There is no operator ${idOrName}.`, 'See `lichen operators ls`.')
}
