import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { PoolError } from '#protocol'
import type { Tx } from './client.ts'
import type { Connection } from './connection.ts'
import type { Database } from './database.ts'
import { codeOf, databaseError } from './errors.ts'
import { storageLimits } from './limits.ts'

/** One step of the schema, forward only. */
export interface Migration {
  readonly number: number
  readonly name: string
  readonly sql: string
  /** sha256 of the file, hex. */
  readonly checksum: string
}

/** Texts that did the same to a database before they were changed: sha256 by number. */
const formerTexts: Readonly<Record<number, readonly string[]>> = {
  // it asked for a superuser
  5: ['307186a462b8c4497f87539085c1a0e1b75418a94a15c0def5e9667ea7a21c8c'],
}

/** Whether a database that had a migration of this checksum applied has what this one makes. */
export function isText(checksum: string, { number, checksum: ours }: Migration): boolean {
  return checksum === ours || (formerTexts[number]?.includes(checksum) ?? false)
}

const fileName = /^(\d{4})_([a-z0-9_]+)\.sql$/

/** Reads `NNNN_name.sql` of a folder in order. Throws when a number is missing, twice there, or a name is odd. */
export async function readMigrations(directory: string): Promise<Migration[]> {
  const files = (await readdir(directory)).filter((file) => file.endsWith('.sql')).sort()
  return Promise.all(
    files.map(async (file, index) => {
      const [, digits, name] = fileName.exec(file) ?? []
      if (Number(digits) !== index + 1 || !name) {
        throw new Error(`${path.join(directory, file)} should be number ${index + 1}, named NNNN_name.sql`)
      }
      const sql = await readFile(path.join(directory, file), 'utf8')
      return { number: index + 1, name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

const schemaTable = `create table if not exists schema_migrations (
  number int primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`

/** Any 64-bit number nobody else uses: "lichen" in ASCII. */
const lockKey = '119178148046190'

/**
 * Brings the schema up to date and says which migrations were applied now. Processes that start together wait for each
 * other; each migration is one transaction with its row.
 * @throws PoolError schema_too_new when a newer Lichen has been here; database_unavailable.
 */
export async function migrate(
  database: Pick<Database, 'connect'>,
  migrations: readonly Migration[],
): Promise<string[]> {
  let connection: Connection | undefined
  try {
    connection = await database.connect()
    await connection.tx.unsafe(`set statement_timeout = 0; set lock_timeout = '${storageLimits.migrationLockMs}ms'`)
    await connection.tx.unsafe(`select pg_advisory_lock(${lockKey})`)
    return await applyMissing(connection, migrations)
  } catch (error) {
    throw codeOf(error) === '42501' ? noRight(error) : databaseError(error)
  } finally {
    await connection?.close()
  }
}

async function applyMissing(connection: Connection, migrations: readonly Migration[]): Promise<string[]> {
  await connection.tx.unsafe(schemaTable)
  const rows = await connection.tx<Applied[]>`select number, name, checksum from schema_migrations order by number`
  for (const row of rows) compare(row, migrations[row.number - 1])
  const missing = migrations.slice(rows.length)
  for (const migration of missing) await connection.transaction((tx) => applyOne(tx, migration))
  return missing.map((migration) => migration.name)
}

/** Applies these inside a transaction of the caller's, in order: for a database that nobody else uses. */
export async function applyMigrations(tx: Tx, migrations: readonly Migration[]): Promise<void> {
  await tx.unsafe(schemaTable)
  for (const migration of migrations) await applyOne(tx, migration)
}

async function applyOne(tx: Tx, { number, name, sql, checksum }: Migration): Promise<void> {
  await tx.unsafe(sql)
  await tx`insert into schema_migrations (number, name, checksum) values (${number}, ${name}, ${checksum})`
}

interface Applied {
  readonly number: number
  readonly name: string
  readonly checksum: string
}

function compare(row: Applied, ours: Migration | undefined): void {
  if (!ours) {
    throw new PoolError(
      'schema_too_new',
      `The database was used by a newer Lichen (migration ${row.number}, ${row.name}), which this one does not know.`,
      'Start that version again, or restore a backup that is older than the upgrade.',
    )
  }
  if (isText(row.checksum, ours)) return
  throw new PoolError(
    'config_invalid',
    `Migration ${row.number} (${row.name}) was applied to the database with another text.`,
    'Use the released package: its applied migrations never change.',
  )
}

function noRight(error: unknown): PoolError {
  return new PoolError(
    'config_invalid',
    `The database user may not create tables: ${error instanceof Error ? error.message : ''}.`,
    'Make the user the owner of its database: alter database … owner to ….',
  )
}
