import { PoolError } from '#protocol'
import type { Sql, Tx } from '#storage'
import type { Role } from './roles.ts'

/** Somebody API keys belong to. */
export interface UserRecord {
  readonly id: string
  readonly name: string
  readonly role: Role
  /** Its account in the ledger: `user:<uuid>`. */
  readonly account: string
  /** Raw Ed25519 key it signs orders with; null: the pool signs for it. */
  readonly payerKey: Buffer | null
  readonly createdAt: number
  readonly disabledAt: number | null
}

export interface NewUser {
  readonly name: string
  /** `user` when absent. */
  readonly role?: Role
  readonly payerKey?: Buffer | null
}

/** Select list for {@link UserRecord}. */
export const userColumns = `id, name, role, 'user:' || id as account, payer_key as "payerKey",
  created_at as "createdAt", disabled_at as "disabledAt"`

const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Whether a text is a uuid: only such a text is compared with a column of uuids. */
export const isUuid = (text: string): boolean => uuidPattern.test(text)

/** The oldest owner who is not disabled; the table keeps one. */
export async function firstOwner(sql: Sql | Tx): Promise<UserRecord> {
  const [user] = await sql<UserRecord[]>`
    select ${sql.unsafe(userColumns)} from users where role = 'owner' and disabled_at is null order by id limit 1`
  if (!user) throw new Error('a pool without an owner')
  return user
}

/** By id or name. @throws PoolError not_found. */
export async function findUser(sql: Sql | Tx, idOrName: string): Promise<UserRecord> {
  const column = isUuid(idOrName) ? 'id' : 'name'
  const [user] = await sql<UserRecord[]>`
    select ${sql.unsafe(userColumns)} from users where ${sql.unsafe(column)} = ${idOrName}`
  if (user) return user
  throw new PoolError('not_found', `There is no user ${idOrName}.`, 'See `lichen users ls`.')
}
