import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, fromDatabase, type Tx } from '#storage'
import { acceptedKey } from './accepted-key.ts'
import { identityLimits } from './limits.ts'
import { assertMayActOn } from './may-act-on.ts'
import { checkName } from './owner-name.ts'
import { type Act, recordAct } from './record-act.ts'
import type { Actor, Role } from './roles.ts'
import { findUser, isUuid, type NewUser, type UserRecord, userColumns } from './user-records.ts'

/** Users: made, listed, given a role and a payer key, disabled and enabled. Never removed: keys and accounts name them. */
export class Users {
  readonly #database: Database
  readonly #runtime: Runtime

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
  }

  async create(wish: NewUser, by: Actor): Promise<UserRecord> {
    const name = checkName(wish.name, 'A user', 'name')
    if (isUuid(name)) throw new PoolError('invalid_request', 'A user’s name is no UUID.', 'Choose another name.')
    const { role = 'user', payerKey = null } = wish
    assertMayActOn(by, role)
    return this.#database.transaction(async (tx) => {
      const key = await acceptedKey(tx, payerKey, 'payer_key')
      const [user] = await tx<UserRecord[]>`
        insert into users (id, name, role, payer_key, created_at)
        values (${this.#runtime.uuid()}, ${name}, ${role}, ${key}, ${this.#runtime.now()})
        on conflict do nothing returning ${tx.unsafe(userColumns)}`
      if (!user) throw taken(`There is already a user ${name}, or one with this payer key.`)
      const details = { name, role, payer_key: key?.toString('hex') ?? null }
      await recordAct(tx, by.actor, { action: 'user.create', subject: user.account, details })
      return user
    })
  }

  /** Oldest first; the next page begins `after` the last id of this one. */
  async list(page: { readonly after?: string; readonly limit?: number } = {}): Promise<UserRecord[]> {
    const { sql } = this.#database
    const rows = await fromDatabase(sql<UserRecord[]>`
      select ${sql.unsafe(userColumns)} from users where id > ${page.after ?? '00000000-0000-0000-0000-000000000000'}
       order by id limit ${Math.min(page.limit ?? 100, identityLimits.pageRowsMax)}`)
    return [...rows]
  }

  async show(idOrName: string): Promise<UserRecord> {
    return fromDatabase(findUser(this.#database.sql, idOrName))
  }

  setRole(idOrName: string, role: Role, by: Actor): Promise<UserRecord> {
    return this.#act(idOrName, by, async (tx, user) => {
      assertMayActOn(by, role)
      if (user.role === role) return undefined
      if (role !== 'owner') await keepAnOwner(tx, user)
      await tx`update users set role = ${role} where id = ${user.id}`
      return { action: 'user.role', details: { name: user.name, before: user.role, role } }
    })
  }

  /** Its keys are refused from now on, here at once and on other replicas within a second. */
  disable(idOrName: string, by: Actor): Promise<UserRecord> {
    return this.#act(idOrName, by, async (tx, user) => {
      if (user.disabledAt !== null) return undefined
      await keepAnOwner(tx, user)
      await tx`update users set disabled_at = ${this.#runtime.now()} where id = ${user.id}`
      return { action: 'user.disable', details: { name: user.name } }
    })
  }

  enable(idOrName: string, by: Actor): Promise<UserRecord> {
    return this.#act(idOrName, by, async (tx, user) => {
      if (user.disabledAt === null) return undefined
      await tx`update users set disabled_at = null where id = ${user.id}`
      return { action: 'user.enable', details: { name: user.name } }
    })
  }

  /** `null`: the pool signs its orders again. */
  setPayerKey(idOrName: string, payerKey: Buffer | null, by: Actor): Promise<UserRecord> {
    return this.#act(idOrName, by, async (tx, user) => {
      const key = await acceptedKey(tx, payerKey, 'payer_key')
      const before = user.payerKey?.toString('hex') ?? null
      const after = key?.toString('hex') ?? null
      if (before === after) return undefined
      const [other] = await tx<{ name: string }[]>`select name from users where payer_key = ${key}`
      if (other) throw taken(`The user ${other.name} has this payer key.`)
      await tx`update users set payer_key = ${key} where id = ${user.id}`
      return { action: 'user.payer_key', details: { name: user.name, before, payer_key: after } }
    })
  }

  /** One transaction on one user; `work` answers what it did, or undefined for "nothing to do", which is no act. */
  async #act(
    idOrName: string,
    by: Actor,
    work: (tx: Tx, user: UserRecord) => Promise<Omit<Act, 'subject'> | undefined>,
  ): Promise<UserRecord> {
    return this.#database.transaction(async (tx) => {
      const { id } = await findUser(tx, idOrName)
      await tx`select 1 from users where id = ${id} for update`
      const user = await findUser(tx, id)
      assertMayActOn(by, user.role)
      const done = await work(tx, user)
      if (!done) return user
      await recordAct(tx, by.actor, { ...done, subject: user.account })
      return findUser(tx, id)
    })
  }
}

const taken = (message: string) => new PoolError('conflict', message, 'See `lichen users ls`.')

/** The table refuses it, too; here the refusal is said in words. @throws PoolError conflict. */
async function keepAnOwner(tx: Tx, user: UserRecord): Promise<void> {
  if (user.role !== 'owner' || user.disabledAt !== null) return
  const [other] = await tx`
    select id from users where role = 'owner' and disabled_at is null and id <> ${user.id} limit 1 for update`
  if (other) return
  const fix = 'Make somebody else an owner first: `lichen users role NAME owner`.'
  throw new PoolError('conflict', `${user.name} is the last owner of this pool.`, fix)
}
