import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { packageRoot } from '#config'
import { generateIdentity } from '#crypto'
import { systemRuntime } from '#runtime'
import { migrate, openDatabase, readMigrations } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { type Actor, Identity, mayActAs, poolItself, type Role, roles } from './index.ts'

let db: TestDatabase
let pool: Identity
let elsewhere: Awaited<ReturnType<typeof openDatabase>>
let replica: Identity

beforeAll(async () => {
  db = await testDatabase()
  pool = new Identity(db.database, systemRuntime)
  elsewhere = await openDatabase({ target: db.target, runtime: systemRuntime })
  replica = new Identity(elsewhere, systemRuntime)
})
afterAll(async () => {
  pool[Symbol.dispose]()
  replica[Symbol.dispose]()
  await elsewhere.end()
  await db.drop()
})

const as = (role: Role, userId: string | null = null): Actor => ({ actor: `key:${role}`, role, userId })
const refused = (code: string, more: object = {}) => ({ refusal: { code, ...more } })
const publicKey = () => generateIdentity(systemRuntime).publicKey

const eventually = async (what: () => unknown, expected: unknown) => {
  for (let i = 0; i < 300 && JSON.stringify(what()) !== JSON.stringify(expected); i++) await systemRuntime.sleep(10)
  expect(what()).toEqual(expected)
}

/** What a replica says of a key it has seen. */
function seen(at: Identity, key: string): Record<string, unknown> {
  const answer = at.authenticate(key)
  if (answer instanceof Promise) throw new Error('the replica does not remember this key')
  return answer as unknown as Record<string, unknown> // compared by what it holds
}

/** A fresh user with a key that both replicas have seen. */
async function userWithKey(name: string, role: Role = 'user') {
  await pool.createUser({ name, role }, poolItself)
  const made = await pool.createApiKey({ name: 'laptop', user: name, role }, poolItself)
  for (const at of [pool, replica]) await at.authenticate(made.key)
  return made
}

describe('an installation from before there were users', () => {
  test('is there again: its keys belong to the owner, work, and administer nothing', async () => {
    await using old = await testDatabase()
    await old.sql.unsafe('drop schema public cascade; create schema public')
    const migrations = await readMigrations(path.join(packageRoot, 'migrations'))
    await migrate(old.database, migrations.slice(0, 3))
    const key = `sk-lichen-${'k'.repeat(43)}`
    await old.sql`insert into api_keys (id, name, key_hash, created_at)
      values (gen_random_uuid(), 'laptop', sha256(${key}::bytea), now())`
    await migrate(old.database, migrations)
    using identity = new Identity(old.database, systemRuntime)
    const [owner] = await identity.listUsers()
    expect(owner).toMatchObject({ name: 'owner', role: 'owner', payerKey: null, disabledAt: null })
    expect(await identity.authenticate(key)).toMatchObject({
      name: 'laptop',
      userId: owner?.id,
      account: `user:${owner?.id}`,
      role: 'user',
      budgetTotal: null,
      budgetPerDay: null,
      tokensPerMinute: null,
      payerSignature: 'optional',
      assurance: null,
      privacy: 'standard',
      forwarding: true,
      requiredWorkers: null,
      payerKey: null,
    })
  })

  test('has an account for each user there was, and for each that comes', async () => {
    await using old = await testDatabase()
    await old.sql.unsafe('drop schema public cascade; create schema public')
    const migrations = await readMigrations(path.join(packageRoot, 'migrations'))
    await migrate(old.database, migrations.slice(0, 40))
    using identity = new Identity(old.database, systemRuntime)
    await identity.createUser({ name: 'before' }, poolItself)
    const accounts = async () => {
      const rows = await old.sql<{ name: string }[]>`select name from accounts where kind = 'user'`
      return rows.map(({ name }) => name).sort()
    }
    expect(await accounts()).toEqual([])
    await migrate(old.database, migrations)
    await identity.createUser({ name: 'after' }, poolItself)
    const users = await identity.listUsers()
    expect(users.map(({ name }) => name)).toEqual(['owner', 'before', 'after'])
    expect(await accounts()).toEqual(users.map(({ account }) => account).sort())
  })
})

describe('users', () => {
  test('are made, listed and shown by id or name; a name is taken once', async () => {
    const payerKey = publicKey()
    const ada = await pool.createUser({ name: ' Ada ', role: 'auditor', payerKey }, poolItself)
    expect(ada).toMatchObject({ name: 'Ada', role: 'auditor', account: `user:${ada.id}`, payerKey, disabledAt: null })
    expect(await pool.showUser('Ada')).toEqual(ada)
    expect(await replica.showUser(ada.id)).toEqual(ada)
    expect(await pool.listUsers()).toContainEqual(ada)
    await expect(pool.createUser({ name: 'Ada' }, poolItself)).rejects.toMatchObject(refused('conflict'))
    await expect(pool.createUser({ name: 'x', payerKey }, poolItself)).rejects.toMatchObject(refused('conflict'))
    await expect(pool.createUser({ name: ada.id }, poolItself)).rejects.toMatchObject(refused('invalid_request'))
    await expect(pool.createUser({ name: 'a\nb' }, poolItself)).rejects.toMatchObject(refused('invalid_request'))
    await expect(pool.showUser('nobody')).rejects.toMatchObject(refused('not_found'))
  })

  test('are listed page by page, the owner of the installation first', async () => {
    const all = await pool.listUsers({ limit: 1_000 })
    expect(all[0]?.name).toBe('owner')
    const first = await pool.listUsers({ limit: 1 })
    expect([...first, ...(await pool.listUsers({ after: first[0]?.id ?? '' }))]).toEqual(all)
  })

  test('a payer key that is no good point, or another user’s, or the pool’s own, is refused', async () => {
    await pool.createUser({ name: 'paul' }, poolItself)
    const weak = Buffer.alloc(32)
    await expect(pool.setPayerKey('paul', weak, poolItself)).rejects.toMatchObject(
      refused('invalid_request', { param: 'payer_key' }),
    )
    const own = generateIdentity(systemRuntime)
    await db.sql`insert into meta (key, value) values ('pool_id', ${own.id})`
    await expect(pool.setPayerKey('paul', own.publicKey, poolItself)).rejects.toMatchObject(refused('invalid_request'))
    const good = publicKey()
    expect((await pool.setPayerKey('paul', good, poolItself)).payerKey).toEqual(good)
    await pool.createUser({ name: 'pia' }, poolItself)
    await expect(pool.setPayerKey('pia', good, poolItself)).rejects.toMatchObject(refused('conflict'))
    expect((await pool.setPayerKey('paul', null, poolItself)).payerKey).toBeNull()
    await pool.setPayerKey('pia', good, poolItself)
  })
})

describe('what changes for a user acts on every replica within a second', () => {
  test('disabled and enabled', async () => {
    const { key } = await userWithKey('dora')
    await pool.disableUser('dora', poolItself)
    await eventually(() => seen(replica, key).code, 'user_disabled')
    await eventually(() => seen(pool, key).code, 'user_disabled')
    await expect(pool.createApiKey({ name: 'x', user: 'dora' }, poolItself)).rejects.toMatchObject(refused('conflict'))
    await pool.enableUser('dora', poolItself)
    await eventually(() => seen(replica, key).code, undefined)
  })

  test('a lesser role makes its keys count as less, and gives it back with the role', async () => {
    const { key } = await userWithKey('rose', 'admin')
    expect(seen(replica, key).role).toBe('admin')
    await pool.setUserRole('rose', 'auditor', poolItself)
    await eventually(() => seen(replica, key).role, 'auditor')
    await pool.setUserRole('rose', 'owner', poolItself)
    await eventually(() => seen(replica, key).role, 'admin')
    await pool.setUserRole('rose', 'user', poolItself)
  })

  test('a payer key', async () => {
    const { key } = await userWithKey('petra')
    const payerKey = publicKey()
    await pool.setPayerKey('petra', payerKey, poolItself)
    await eventually(() => seen(replica, key).payerKey, payerKey)
  })

  test('a budget of a key, and a limit that is taken away', async () => {
    const { id, key } = await userWithKey('bella')
    const change = { budgetTotal: 10_000_000n, budgetPerDay: 0n, tokensPerMinute: 500, requestsPerMinute: 5 } as const
    const changed = await pool.changeApiKey(id, { ...change, payerSignature: 'required' }, poolItself)
    expect(changed).toMatchObject({ ...change, payerSignature: 'required', name: 'laptop', weight: 1 })
    expect(seen(pool, key)).toMatchObject(change)
    const budget = () => String(seen(replica, key).budgetTotal)
    await eventually(budget, '10000000')
    await pool.changeApiKey(id, { budgetTotal: null }, poolItself)
    await eventually(budget, 'null')
    expect(seen(replica, key)).toMatchObject({ tokensPerMinute: 500, payerSignature: 'required' })
  })
})

describe('nobody acts on somebody above', () => {
  test('an admin makes users and keys up to admin, an owner everything', async () => {
    for (const role of roles) {
      const made = pool.createUser({ name: `by admin ${role}`, role }, as('admin'))
      if (role === 'owner') await expect(made).rejects.toMatchObject(refused('role_required'))
      else expect((await made).role).toBe(role)
    }
    await pool.createUser({ name: 'second owner', role: 'owner' }, as('owner'))
    for (const act of [
      () => pool.disableUser('second owner', as('admin')),
      () => pool.setUserRole('second owner', 'user', as('admin')),
      () => pool.setUserRole('by admin user', 'owner', as('admin')),
      () => pool.setPayerKey('second owner', publicKey(), as('admin')),
      () => pool.createApiKey({ name: 'x', user: 'second owner' }, as('admin')),
    ]) {
      await expect(act()).rejects.toMatchObject(refused('role_required'))
    }
    await pool.disableUser('second owner', as('owner'))
  })

  test('a key gets at most the role of its user and of who gives it', async () => {
    await pool.createUser({ name: 'oscar', role: 'operator' }, poolItself)
    const wish = { name: 'x', user: 'oscar' } as const
    expect((await pool.createApiKey({ ...wish, role: 'operator' }, poolItself)).role).toBe('operator')
    const { id } = await pool.createApiKey(wish, poolItself)
    await expect(pool.createApiKey({ ...wish, role: 'admin' }, poolItself)).rejects.toMatchObject(refused('conflict'))
    await expect(pool.changeApiKey(id, { role: 'admin' }, poolItself)).rejects.toMatchObject(refused('conflict'))
    expect((await pool.changeApiKey(id, { role: 'auditor' }, as('admin'))).role).toBe('auditor')
  })

  test('an admin may revoke a plain key of an owner, but neither change it nor revoke one that counts as owner', async () => {
    const plain = await pool.createApiKey({ name: 'plain' }, poolItself)
    const mighty = await pool.createApiKey({ name: 'mighty', role: 'owner' }, poolItself)
    const change = pool.changeApiKey(plain.id, { budgetTotal: null }, as('admin'))
    await expect(change).rejects.toMatchObject(refused('role_required'))
    await expect(pool.revokeApiKey(mighty.id, as('admin'))).rejects.toMatchObject(refused('role_required'))
    expect((await pool.revokeApiKey(plain.id, as('admin'))).revokedAt).not.toBeNull()
    const late = pool.changeApiKey(plain.id, { budgetTotal: 1n }, poolItself)
    await expect(late).rejects.toMatchObject(refused('conflict'))
  })

  test('a key without a named user belongs to the user of the key that asks', async () => {
    const { userId } = await userWithKey('anna', 'admin')
    expect((await pool.createApiKey({ name: 'x' }, as('admin', userId))).user).toBe('anna')
    expect((await pool.createApiKey({ name: 'x' }, poolItself)).user).toBe('owner')
    const keys = await pool.listApiKeys({ user: 'anna' })
    expect(keys.map((key) => key.user)).toEqual(['anna', 'anna'])
    await expect(pool.listApiKeys({ user: 'nobody' })).rejects.toMatchObject(refused('not_found'))
  })
})

describe('a pool keeps an owner', () => {
  test('the last one is neither disabled nor given another role, not even in psql', async () => {
    for (const act of [pool.disableUser('owner', poolItself), pool.setUserRole('owner', 'admin', poolItself)]) {
      await expect(act).rejects.toMatchObject(refused('conflict'))
    }
    await expect(db.sql`update users set disabled_at = now() where name = 'owner'`).rejects.toThrow('last owner')
    await expect(db.sql`delete from users where name = 'owner'`).rejects.toThrow('last owner')
  })

  test('two who remove each other at once, on two replicas: one stays', async () => {
    await pool.createUser({ name: 'rival', role: 'owner' }, poolItself)
    for (let round = 0; round < 5; round++) {
      const outcomes = await Promise.allSettled([
        pool.disableUser('rival', poolItself),
        replica.disableUser('owner', poolItself),
      ])
      expect(outcomes.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
      const owners = (await pool.listUsers()).filter((user) => user.role === 'owner' && user.disabledAt === null)
      expect(owners).toHaveLength(1)
      expect((await pool.createApiKey({ name: 'x' }, poolItself)).user).toBe(owners[0]?.name)
      for (const name of ['owner', 'rival']) await pool.enableUser(name, poolItself)
    }
  })
})

test('the database ranks roles as the program does', async () => {
  const rows = await db.sql<{ role: Role; rank: number }[]>`
    select role, role_rank(role) as rank from unnest(${[...roles]}::text[]) role`
  for (const a of rows) for (const b of rows) expect(a.rank >= b.rank).toBe(mayActAs(a.role, b.role))
})
