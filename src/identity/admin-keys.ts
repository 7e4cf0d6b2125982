import { sha256 } from '#crypto'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, fromDatabase, type Sql, type Tx } from '#storage'
import { acceptedKey } from './accepted-key.ts'
import { identityLimits } from './limits.ts'
import { assertMayActOn } from './may-act-on.ts'
import { checkName } from './owner-name.ts'
import { recordAct } from './record-act.ts'
import type { Actor } from './roles.ts'

/** A key that signs grants; its private half lies on an admin's machine. */
export interface AdminKeyRecord {
  /** Hex sha256 of the public key. */
  readonly id: string
  /** Raw Ed25519. */
  readonly publicKey: Buffer
  readonly name: string
  readonly createdAt: number
  readonly revokedAt: number | null
  /** Who added it: `owner.key`, `key:<id>`. */
  readonly addedBy: string
}

const columns = `id, public_key as "publicKey", name, created_at as "createdAt", revoked_at as "revokedAt",
  added_by as "addedBy"`

/** Admin keys: added, listed, revoked for good. */
export class AdminKeys {
  readonly #database: Database
  readonly #runtime: Runtime

  constructor(database: Database, runtime: Runtime) {
    this.#database = database
    this.#runtime = runtime
  }

  async add(wish: { readonly name: string; readonly publicKey: Buffer }, by: Actor): Promise<AdminKeyRecord> {
    const name = checkName(wish.name, 'An admin key', 'name')
    assertMayActOn(by, 'owner')
    return this.#database.transaction(async (tx) => {
      const publicKey = await acceptedKey(tx, wish.publicKey, 'public_key')
      const id = sha256(publicKey).toString('hex')
      const [made] = await tx<AdminKeyRecord[]>`
        insert into admin_keys (id, public_key, name, created_at, added_by)
        values (${id}, ${publicKey}, ${name}, ${this.#runtime.now()}, ${by.actor})
        on conflict do nothing returning ${tx.unsafe(columns)}`
      if (!made) {
        const fix = 'See `lichen admin-key ls`; a revoked key does not come back.'
        throw new PoolError('conflict', 'This admin key is already on the list.', fix)
      }
      const details = { name, public_key: publicKey.toString('hex') }
      await recordAct(tx, by.actor, { action: 'admin_key.add', subject: `admin-key:${id}`, details })
      return made
    })
  }

  /** By id, revoked ones included; the next page begins `after` the last id of this one. */
  async list(page: { readonly after?: string; readonly limit?: number } = {}): Promise<AdminKeyRecord[]> {
    const { sql } = this.#database
    const rows = await fromDatabase(sql<AdminKeyRecord[]>`
      select ${sql.unsafe(columns)} from admin_keys where id > ${page.after ?? ''}
       order by id limit ${Math.min(page.limit ?? 100, identityLimits.pageRowsMax)}`)
    return [...rows]
  }

  /** Whether grants signed with this key count now. Asked of the database each time: grants are rare. */
  isGood(publicKey: Buffer): Promise<boolean> {
    return this.#isThere((sql) => sql`select 1 from admin_keys where public_key = ${publicKey} and revoked_at is null`)
  }

  /** Whether there ever was an admin key. */
  everAny(): Promise<boolean> {
    return this.#isThere((sql) => sql`select 1 from admin_keys limit 1`)
  }

  async #isThere(ask: (sql: Sql) => Promise<readonly unknown[]>): Promise<boolean> {
    return (await fromDatabase(ask(this.#database.sql))).length > 0
  }

  /** By id or its beginning. For good, and at once on every replica; doing it again changes nothing. */
  async revoke(idOrPrefix: string, by: Actor): Promise<AdminKeyRecord> {
    assertMayActOn(by, 'owner')
    return this.#database.transaction(async (tx) => {
      const key = await findAdminKey(tx, idOrPrefix)
      if (key.revokedAt !== null) return key
      const revokedAt = this.#runtime.now()
      await tx`update admin_keys set revoked_at = ${revokedAt} where id = ${key.id}`
      const details = { name: key.name }
      await recordAct(tx, by.actor, { action: 'admin_key.revoke', subject: `admin-key:${key.id}`, details })
      return { ...key, revokedAt }
    })
  }
}

/** Raw public keys by id, of those that count now: at most 64, the oldest. */
export async function goodAdminKeys(sql: Sql): Promise<ReadonlyMap<string, Buffer>> {
  const rows = await sql<{ id: string; publicKey: Buffer }[]>`
    select id, public_key as "publicKey" from admin_keys where revoked_at is null order by created_at limit 64`
  return new Map(rows.map(({ id, publicKey }) => [id, Buffer.from(publicKey)]))
}

/** @throws PoolError not_found, conflict when several ids begin so. */
async function findAdminKey(tx: Tx, idOrPrefix: string): Promise<AdminKeyRecord> {
  const usable = /^[0-9a-f]+$/.test(idOrPrefix) && idOrPrefix.length >= identityLimits.idPrefixCharsMin
  const rows = usable
    ? await tx<AdminKeyRecord[]>`
        select ${tx.unsafe(columns)} from admin_keys
         where id >= ${idOrPrefix} and id <= ${idOrPrefix.padEnd(64, 'f')} order by id limit 2 for update`
    : []
  const [key] = rows
  if (key && rows.length === 1) return key
  if (key) throw new PoolError('conflict', `Several admin keys begin with ${idOrPrefix}.`, 'Give more of the id.')
  throw new PoolError('not_found', `There is no admin key ${idOrPrefix}.`, 'See `lichen admin-key ls`.')
}
