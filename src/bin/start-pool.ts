import { existsSync } from 'node:fs'
import type { Settings } from '#config'
import { claimDatabase, loadPoolIdentity } from '#identity'
import type { Jobs } from '#jobs'
import { type Log, Metrics, poolEvents, troubleLog } from '#observability'
import type { Runtime } from '#runtime'
import type { ReadyPool } from './announce-ready.ts'
import { Closers } from './closers.ts'
import { finishSuccession } from './finish-succession.ts'
import { firstApiKey } from './first-api-key.ts'
import type { Lifetime } from './lifetime.ts'
import { refuseTakenPort } from './listen.ts'
import type { LocalWorkerStart } from './local-worker.ts'
import { openPoolDatabase } from './open-database.ts'
import { openDoors } from './open-doors.ts'
import { openRooms } from './open-rooms.ts'
import { startOwnWorker } from './own-worker.ts'
import { finishStorageKey } from './rotate-storage-key.ts'
import { takeDataFolder } from './take-data-folder.ts'

export interface StartPoolOptions {
  readonly settings: Settings
  /** `up`: with a worker of its own. */
  readonly localWorker: boolean
  readonly life: Lifetime
  readonly runtime: Runtime
  readonly log: Log
  readonly logStyle: LocalWorkerStart['log']
  readonly progress: (step: string) => void
  /** The process whose end ends us: npm. */
  readonly launcher: number | undefined
}

/** A pool that answers, until it is disposed of. */
export type RunningPool = ReadyPool & AsyncDisposable

/** Starts everything a pool is made of, lowest floor first; what was opened is closed again when a step fails. */
export async function startPool(options: StartPoolOptions): Promise<RunningPool> {
  const closers = new Closers()
  const close = () => closers.close((what, error) => options.log.error({ err: error, what }, 'could not be closed'))
  try {
    const ready = await compose(options, closers)
    return { ...ready, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

async function compose(options: StartPoolOptions, closers: Closers): Promise<ReadyPool> {
  const { settings, runtime, log, life, progress } = options
  const metrics = new Metrics()
  const events = poolEvents(log, metrics, (ms, run) => runtime.after(ms, run))
  if (options.localWorker) await refuseMissingModels(settings)
  await takePlace(options, closers)
  await loadPoolIdentity(settings.data, runtime)
  const database = await openPoolDatabase({ settings, runtime, events, closers, progress })
  life.stopping.throwIfAborted()
  await finishSuccession(settings.data, database)
  await finishStorageKey(settings.data, database)
  const pool = await loadPoolIdentity(settings.data, runtime)
  await claimDatabase(database, pool.poolId)
  const trouble = troubleLog(log, (ms, run) => runtime.after(ms, run))
  const ground = { settings, runtime, life, log, trouble, events, metrics, closers, pool, database }
  const rooms = await openRooms(ground)
  const { url, workerUrl } = await openDoors({ ...ground, ...rooms })
  life.stopping.throwIfAborted()
  if (options.localWorker) {
    progress('Starting the local worker')
    await startOwnWorker({ ...ground, ...rooms }, workerUrl, options.logStyle)
  }
  closers.add('running jobs', () => drain(rooms.jobs, life, settings.shutdownTimeout))
  const { key, isNew } = await firstApiKey(settings.data, rooms.identity, runtime)
  return {
    url,
    poolId: pool.poolId,
    apiKey: key,
    firstTime: isNew,
    database: settings.databaseUrl === undefined ? 'embedded PostgreSQL' : 'your PostgreSQL',
    models: options.localWorker ? rooms.models.list().map((model) => model.name) : undefined,
    ready: rooms.models.workers > 0,
  }
}

/**
 * Folder and port. Of a folder that is there whoever runs on it is named, who holds the port as well; one that is missing is not made for a
 * port that is taken. @throws PoolError data_in_use, port_in_use, config_invalid, key_file_unsafe.
 */
async function takePlace({ settings, runtime, life, launcher }: StartPoolOptions, closers: Closers): Promise<void> {
  const { data } = settings
  const take = () => takeDataFolder({ data, runs: 'pool', runtime, life, launcher }, closers)
  const isThere = existsSync(data)
  if (isThere) await take()
  await refuseTakenPort(settings)
  if (!isThere) await take()
}

/** Before anything is made: a path mistyped. @throws PoolError model_unreadable. */
async function refuseMissingModels({ model }: Settings): Promise<void> {
  if (model.length === 0) return
  const { checkModels } = await import('#engines')
  await checkModels(model)
}

/** Takes nothing new and lets what runs end, for a while; at once when told a second time. */
async function drain(jobs: Jobs, life: Lifetime, graceMs: number): Promise<void> {
  const hurry = () => void jobs.close()
  const closed = jobs.close(life.atOnce.aborted ? 0 : graceMs)
  life.atOnce.addEventListener('abort', hurry, { once: true })
  await closed
  life.atOnce.removeEventListener('abort', hurry)
}
