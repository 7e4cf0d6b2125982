import { cpSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { systemRuntime as runtime } from '#runtime'
import { temporaryFolder, testDatabase } from '#testkit'
import { openDatabase } from './database.ts'
import { applyMigrations, migrate, readMigrations } from './migrate.ts'

const released = path.join(import.meta.dirname, '../../migrations')

function migrationsWith(files: Record<string, string>): ReturnType<typeof temporaryFolder> {
  const folder = temporaryFolder()
  cpSync(released, folder.path, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder.path, name), text)
  return folder
}

const next = String(readdirSync(released).length + 1).padStart(4, '0')
const afterNext = String(readdirSync(released).length + 2).padStart(4, '0')

test('the database of a test has every migration, and nothing is applied twice', async () => {
  await using db = await testDatabase()
  expect(await migrate(db.database, await readMigrations(released))).toEqual([])
})

test('several pools that start at once apply each migration once', async () => {
  await using db = await testDatabase()
  using folder = migrationsWith({
    [`${next}_one.sql`]: 'create table one (n int); select pg_sleep(0.1)',
    [`${afterNext}_two.sql`]: 'insert into one values (1)',
  })
  const migrations = await readMigrations(folder.path)
  const pools = await Promise.all(Array.from({ length: 4 }, () => openDatabase({ target: db.target, runtime })))
  const applied = await Promise.all(pools.map((pool) => migrate(pool, migrations)))
  await Promise.all(pools.map((pool) => pool.end()))
  expect(applied.flat()).toEqual(['one', 'two'])
  expect(await db.sql`select n from one`).toEqual([{ n: 1 }])
})

test('a migration that fails leaves nothing of itself', async () => {
  await using db = await testDatabase()
  using folder = migrationsWith({ [`${next}_broken.sql`]: 'create table half (n int); select 1 / 0' })
  await expect(migrate(db.database, await readMigrations(folder.path))).rejects.toThrow('division by zero')
  expect(await db.sql`select to_regclass('half') as half`).toEqual([{ half: null }])
})

test('a database used by a newer Lichen is refused', async () => {
  await using db = await testDatabase()
  using folder = migrationsWith({ [`${next}_future.sql`]: 'create table future (n int)' })
  await migrate(db.database, await readMigrations(folder.path))
  await expect(migrate(db.database, await readMigrations(released))).rejects.toMatchObject({
    refusal: { code: 'schema_too_new' },
  })
})

test('the owner of a database who is no superuser sets everything up', async () => {
  await using db = await testDatabase()
  const [user] = await db.sql<{ rolsuper: boolean }[]>`select rolsuper from pg_roles where rolname = current_user`
  // a server of yours was set up by an owner who is none
  if (!user?.rolsuper) return
  const owner = `owner_${runtime.uuid().replaceAll('-', '_')}`
  await using connection = await openDatabase({ target: db.target, runtime, connectionsMax: 1 })
  await connection.sql.unsafe(`create role ${owner}; create schema ${owner} authorization ${owner}`)
  try {
    const migrations = await readMigrations(released)
    const done = connection.transaction(async (tx) => {
      await tx.unsafe(`set local role ${owner}; set local search_path to ${owner}`)
      await applyMigrations(tx, migrations)
      const [learnt] = await tx`select learn_account('user:1', 'user', ${Buffer.alloc(32, 1)}) as learnt`
      expect(learnt).toEqual({ learnt: true })
      const forged = tx.unsafe(`update accounts set key = '' where name = 'user:1'`)
      await expect(forged).rejects.toThrow('through the functions of the ledger only')
    })
    await done
  } finally {
    await db.sql.unsafe(`drop schema ${owner} cascade; drop role ${owner}`)
  }
})

test('what a migration did under its former text counts, another text does not', async () => {
  await using db = await testDatabase()
  const migrations = await readMigrations(released)
  const rename = (checksum: string) => db.sql`update schema_migrations set checksum = ${checksum} where number = 5`
  await rename('307186a462b8c4497f87539085c1a0e1b75418a94a15c0def5e9667ea7a21c8c')
  expect(await migrate(db.database, migrations)).toEqual([])
  await rename('00'.repeat(32))
  await expect(migrate(db.database, migrations)).rejects.toMatchObject({ refusal: { code: 'config_invalid' } })
})

test('an applied migration whose text was changed is refused', async () => {
  await using db = await testDatabase()
  using folder = migrationsWith({ '0001_meta.sql': 'create table meta (something_else int)' })
  await expect(migrate(db.database, await readMigrations(folder.path))).rejects.toMatchObject({
    refusal: { code: 'config_invalid' },
  })
})

test('migrations are numbered without a gap', async () => {
  using folder = migrationsWith({ '0900_far.sql': 'select 1' })
  await expect(readMigrations(folder.path)).rejects.toThrow('should be number')
})
