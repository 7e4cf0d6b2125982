import path from 'node:path'
import { packageRoot, type Settings } from '#config'
import type { PoolEvents } from '#observability'
import type { Runtime } from '#runtime'
import {
  type Database,
  type EmbeddedEvent,
  migrate,
  openDatabase,
  readMigrations,
  startEmbeddedPostgres,
} from '#storage'
import type { Closers } from './closers.ts'

interface Options {
  readonly settings: Settings
  readonly runtime: Runtime
  readonly events: PoolEvents
  readonly closers: Closers
  readonly progress: (step: string) => void
}

/** The pool's database, its schema up to date: the operator's own, or the embedded one in the data folder. */
export async function openPoolDatabase(options: Options): Promise<Database> {
  const { settings, runtime, closers, progress } = options
  if (settings.databaseUrl !== undefined) progress('Connecting to your PostgreSQL')
  const target = settings.databaseUrl === undefined ? await embedded(options) : { url: settings.databaseUrl }
  const database = await openDatabase({ target, runtime })
  closers.add('database', () => database.end())
  await migrate(database, await readMigrations(path.join(packageRoot, 'migrations')))
  return database
}

async function embedded({ settings, runtime, events, closers, progress }: Options) {
  const server = await startEmbeddedPostgres({
    dataDir: settings.data,
    runtime,
    onEvent: (event) => tell(event, events, progress),
  })
  closers.add('PostgreSQL', () => server.stop())
  return server.target
}

function tell(event: EmbeddedEvent, events: PoolEvents, progress: (step: string) => void): void {
  if (event.kind === 'initialising') progress('Making the database (first start)')
  else if (event.kind === 'starting') progress('Starting PostgreSQL')
  else if (event.kind === 'ready') events.databaseReady(event)
  else if (event.kind === 'died') events.databaseDied(event)
  else events.databaseSaid(event.text)
}
