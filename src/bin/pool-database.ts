import { stat } from 'node:fs/promises'
import path from 'node:path'
import { packageRoot, type Settings } from '#config'
import { type Identity, identityFromSeed } from '#crypto'
import { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import {
  type Database,
  type DatabaseTarget,
  lockDataDir,
  openDatabase,
  readKeyFile,
  readMigrations,
  runningPostgres,
  schemaOf,
  startEmbeddedPostgres,
} from '#storage'
import { Closers } from './closers.ts'
import { binLimits } from './limits.ts'

/** A pool's database, opened for one command. */
export interface PoolDatabase extends AsyncDisposable {
  readonly database: Database
  /** Whether a pool runs on the data folder. */
  readonly running: boolean
}

/** Migrations of this program, in order. */
export const ourMigrations = () => readMigrations(path.join(packageRoot, 'migrations'))

/** The pool's own key. @throws PoolError not_found, key_file_unsafe. */
export async function poolKeyOf(data: string): Promise<Identity> {
  const seed = await readKeyFile(path.join(data, 'pool.key'), 32)
  if (seed) return identityFromSeed(seed)
  throw new PoolError(
    'not_found',
    `There is no pool in ${data}: pool.key is missing.`,
    'Name its data folder with --data; a lost key comes back from a backup that was made with keys.',
  )
}

/**
 * The database of the pool in this data folder, whether the pool runs or not: the operator's own, the embedded one of the
 * running pool, or the embedded one, started for this command. `alone`: refused while a pool runs.
 * @throws PoolError data_in_use, database_unavailable, config_invalid.
 */
export async function openForCommand(settings: Settings, { alone = false } = {}): Promise<PoolDatabase> {
  const closers = new Closers()
  const dispose = () => closers.close((what, error) => process.stderr.write(`${what}: ${String(error)}\n`))
  try {
    const running = await takeOrJoin(settings.data, alone, closers)
    const target = await targetOf(settings, running, closers)
    const database = await openDatabase({ target, runtime: systemRuntime })
    closers.add('database', () => database.end())
    return { database, running, [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

/** Whether a pool runs on the folder; if none does, the folder is ours until the command ends. */
async function takeOrJoin(data: string, alone: boolean, closers: Closers): Promise<boolean> {
  try {
    const lock = await lockDataDir(data, systemRuntime)
    closers.add('data folder', () => lock.release())
    return false
  } catch (error) {
    if (alone || !(error instanceof PoolError) || error.code !== 'data_in_use') throw error
    return true
  }
}

async function targetOf({ databaseUrl, data }: Settings, running: boolean, closers: Closers): Promise<DatabaseTarget> {
  if (databaseUrl !== undefined) return { url: databaseUrl }
  if (running) return runningTarget(data)
  const server = await startEmbeddedPostgres({ dataDir: data, runtime: systemRuntime })
  closers.add('PostgreSQL', () => server.stop())
  return server.target
}

/** The pool may be starting just now. */
async function runningTarget(data: string): Promise<DatabaseTarget> {
  const until = systemRuntime.monotonic() + binLimits.databaseUpMs
  for (;;) {
    const target = await runningPostgres(data)
    if (target) return target
    if (systemRuntime.monotonic() >= until) break
    await systemRuntime.sleep(100)
  }
  throw new PoolError(
    'database_unavailable',
    `A pool runs on ${data}, and its database does not.`,
    'If the pool has a database of its own, give this command the same DATABASE_URL; else look at the log of the pool.',
  )
}

/** @throws PoolError not_found, schema_too_new, config_invalid: this program reads only the schema it would write. */
export async function refuseOtherSchema({ sql }: Pick<Database, 'sql'>): Promise<void> {
  const [schema, ours] = await Promise.all([schemaOf(sql), ourMigrations()])
  if (!schema) {
    throw new PoolError('not_found', 'The database is empty: no pool has used it.', 'Start one with `lichen up`.')
  }
  if (schema.length > ours.length) {
    throw new PoolError('schema_too_new', 'The database was used by a newer Lichen.', 'Use that version.')
  }
  if (schema.length === ours.length) return
  throw new PoolError(
    'config_invalid',
    'The database was last used by an older Lichen.',
    'Start the pool once with this version, which brings it up to date, or use the older one.',
  )
}

/** Whether the data folder is there at all: commands that only read make none. @throws PoolError not_found. */
export async function refuseMissingFolder(data: string): Promise<void> {
  if (await stat(data).catch(() => undefined)) return
  throw new PoolError('not_found', `There is no data folder ${data}.`, 'Name the one of the pool with --data.')
}
