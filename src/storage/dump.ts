import { PoolError } from '#protocol'
import type { Sql, Tx } from './client.ts'
import { storageLimits } from './limits.ts'
import { applyMigrations, isText, type Migration } from './migrate.ts'

/** Table of migrations: its rows are not dumped, they say which schema the dump is of. */
const schemaTable = 'schema_migrations'

/** A migration as the database remembers it. */
export interface AppliedMigration {
  readonly number: number
  readonly name: string
  readonly checksum: string
}

/** The migrations that made this database; undefined when none ever did. */
export async function schemaOf(sql: Sql): Promise<readonly AppliedMigration[] | undefined> {
  const [table] = await sql<{ there: boolean }[]>`select to_regclass(${schemaTable}) is not null as there`
  if (!table?.there) return undefined
  const rows = await sql<AppliedMigration[]>`select number, name, checksum from schema_migrations order by number`
  return [...rows]
}

/** Every table of ours, each behind those its foreign keys name. */
export async function tablesOf(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string; needs: string[] }[]>`
    select c.relname::text as name,
           array(select distinct f.confrelid::regclass::text from pg_constraint f
                  where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid) as needs
      from pg_class c
     where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace and c.relname <> ${schemaTable}
     order by 1`
  const sorted: string[] = []
  let waiting = [...rows]
  while (waiting.length > 0) {
    const ready = waiting.filter((row) => row.needs.every((need) => sorted.includes(need)))
    if (ready.length === 0) throw new Error('tables whose foreign keys go in a circle')
    sorted.push(...ready.map((row) => row.name))
    waiting = waiting.filter((row) => !sorted.includes(row.name))
  }
  return sorted
}

/** Rows of a table as JSON texts, some at a time. Call it in a transaction. */
export async function* dumpTable(tx: Tx, table: string): AsyncGenerator<readonly string[]> {
  await tx.unsafe(`declare dump no scroll cursor for select row_to_json(t)::text as line from ${quoted(table)} t`)
  for (;;) {
    const rows = await tx.unsafe<{ line: string }[]>(`fetch ${storageLimits.dumpRowsPerFetch} from dump`)
    if (rows.length > 0) yield rows.map((row) => row.line)
    if (rows.length < storageLimits.dumpRowsPerFetch) break
  }
  await tx.unsafe('close dump')
}

/** Where a dump is put. */
export interface LoadOptions {
  /** The migrations the dump was made with. */
  readonly schema: readonly AppliedMigration[]
  /** Those of this program. */
  readonly migrations: readonly Migration[]
  /** Rows as JSON texts, table by table, in the order of {@link tablesOf}. */
  readonly rows: AsyncIterable<{ readonly table: string; readonly lines: readonly string[] }>
}

/**
 * Makes the schema of the dump in an empty database, fills it as it was, and brings the schema up to date. Call it in a transaction: what is
 * thrown leaves the database as it was. Triggers of ours rest meanwhile; constraints do not.
 * @throws PoolError conflict when the database is not empty, schema_too_new.
 */
export async function loadDump(tx: Tx, { schema, migrations, rows }: LoadOptions): Promise<void> {
  if (await schemaOf(tx)) {
    throw new PoolError(
      'conflict',
      'The database is not empty: a pool has used it.',
      'Restore into an empty one: move the folder `postgres` out of the data folder, or name another database.',
    )
  }
  refuseOtherSchema(schema, migrations)
  await applyMigrations(tx, migrations.slice(0, schema.length))
  const tables = await tablesOf(tx)
  for (const table of tables) await tx.unsafe(`alter table ${quoted(table)} disable trigger user`)
  // what migrations put there comes back with the dump
  await tx.unsafe(`truncate ${tables.map(quoted).join(', ')}`)
  for await (const { table, lines } of rows) {
    if (!tables.includes(table)) throw unusable(`there is no table ${table} in its schema`)
    await insertRows(tx, table, lines)
  }
  for (const table of tables) await tx.unsafe(`alter table ${quoted(table)} enable trigger user`)
  await continueSequences(tx)
  await applyMigrations(tx, migrations.slice(schema.length))
}

async function insertRows(tx: Tx, table: string, lines: readonly string[]): Promise<void> {
  try {
    await tx.unsafe(
      `insert into ${quoted(table)} overriding system value
       select r.* from json_populate_recordset(null::${quoted(table)}, $1::text::json) r`,
      [`[${lines.join(',')}]`],
    )
  } catch (error) {
    // class 22 and 23 of PostgreSQL's error codes: what is no value, and what breaks a constraint
    if (!/^2[23]/.test(String((error as { code?: unknown }).code))) throw error
    throw unusable(`rows of ${table} do not fit their table (${(error as Error).message})`)
  }
}

/** Numbers that the database gives go on behind the greatest that was given. */
async function continueSequences(tx: Tx): Promise<void> {
  const columns = await tx<{ table: string; column: string }[]>`
    select c.relname::text as table, a.attname::text as column
      from pg_attribute a join pg_class c on c.oid = a.attrelid
     where a.attidentity <> '' and c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace`
  for (const { table, column } of columns) {
    await tx.unsafe(
      `select setval(pg_get_serial_sequence($1, $2), coalesce(max(${quoted(column)}), 0) + 1, false) from ${quoted(table)}`,
      [quoted(table), column],
    )
  }
}

function refuseOtherSchema(schema: readonly AppliedMigration[], migrations: readonly Migration[]): void {
  if (schema.length > migrations.length) {
    throw new PoolError(
      'schema_too_new',
      `The backup was made by a newer Lichen (schema ${schema.length}; this one knows ${migrations.length}).`,
      'Restore it with that version.',
    )
  }
  const other = schema.find(({ checksum }, n) => {
    const ours = migrations[n]
    return ours === undefined || !isText(checksum, ours)
  })
  if (other) throw unusable(`its migration ${other.number} (${other.name}) has another text than ours`)
}

const unusable = (why: string) =>
  new PoolError('backup_unusable', `The backup cannot be restored: ${why}.`, 'Take another backup.')

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`
