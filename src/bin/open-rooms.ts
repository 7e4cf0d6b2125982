import { OfferedModels } from '#api'
import type { Settings } from '#config'
import { sha256 } from '#crypto'
import { Identity, type PoolIdentity } from '#identity'
import { Jobs, jobStages } from '#jobs'
import type { Log, Metrics, PoolEvents } from '#observability'
import type { Runtime } from '#runtime'
import { type Database, GroupCommit } from '#storage'
import { type ConnectedWorker, Workers } from '#workers'
import { followWorkerKeys } from './admit-workers.ts'
import type { Closers } from './closers.ts'
import type { Lifetime } from './lifetime.ts'

/** What the rooms of a pool stand on. */
export interface Ground {
  readonly settings: Settings
  readonly runtime: Runtime
  readonly life: Lifetime
  readonly log: Log
  readonly events: PoolEvents
  readonly metrics: Metrics
  readonly closers: Closers
  readonly pool: PoolIdentity
  readonly database: Database
}

export interface Rooms {
  readonly identity: Identity
  readonly workers: Workers
  readonly jobs: Jobs
  readonly models: OfferedModels
}

/** Identity, workers and jobs, and what one must tell the other. */
export async function openRooms({ settings, runtime, database, pool, events, closers }: Ground): Promise<Rooms> {
  const identity = new Identity(database, runtime)
  closers.add('identity', () => identity[Symbol.dispose]())
  const commit = new GroupCommit({ database, runtime, stages: jobStages, onFlush: (event) => events.flushed(event) })
  closers.add('group commit', () => commit[Symbol.asyncDispose]())
  const models = new OfferedModels(runtime)
  const available = (worker: ConnectedWorker) => {
    models.put(worker)
    jobs.workerAvailable(worker)
  }
  const workers = new Workers({
    ...events,
    runtime,
    onAvailable: available,
    onChanged: available,
    onGone: (id) => {
      models.remove(id)
      jobs.workerGone(id)
    },
  })
  closers.add('workers', () => workers.close())
  const jobs = await Jobs.start({
    runtime,
    sql: database.sql,
    commit,
    workers,
    secret: sha256(Buffer.from('lichen/idempotency/1'), pool.identity.seed),
    alone: settings.databaseUrl === undefined,
    events,
    settings: { deadlineMs: settings.requestTimeout, queuedRunsMax: settings.queueMax },
  })
  closers.add('jobs', () => jobs.close())
  const following = followWorkerKeys(identity, workers)
  closers.add('workers’ keys', () => following[Symbol.dispose]())
  return { identity, workers, jobs, models }
}
