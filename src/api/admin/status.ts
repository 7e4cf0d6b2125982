import { z } from 'zod'
import type { ApiDeps } from '../deps.ts'
import { toModel } from '../openai/models.ts'
import { readiness } from '../ops/readiness.ts'
import type { RequestCounts } from '../request-counts.ts'
import { type Route, route } from '../route.ts'

const count = z.int().min(0)

const statusSchema = z.strictObject({
  object: z.literal('status'),
  pool: z.string(),
  version: z.string(),
  uptime_seconds: count,
  ready: z.boolean(),
  /** Why not ready. */
  reason: z.string().nullable(),
  database: z.strictObject({ kind: z.string(), answers: z.boolean() }),
  /** Jobs under way, runs that wait for a worker, and how many may. */
  queue: z.strictObject({ jobs: count, waiting: count, max: count }),
  workers: z.strictObject({
    connected: count,
    approved: count,
    pending: count,
    draining: count,
    slots: count,
    busy: count,
  }),
  /** Models on their way from the pool to idle workers. */
  fetching: z.array(z.strictObject({ worker: z.string(), model: z.string(), bytes: count, bytes_of: count })),
  /** Workers that offer each model. */
  models: z.record(z.string(), count),
  /** Of clients, since this process started: answered with 2xx, refused with 4xx or 5xx, left by the client. */
  requests: z.strictObject({ answered: count, refused: count, left: count }),
  /** `off_because`: what switches it off now, files first; empty: it runs. */
  federation: z.strictObject({ mode: z.string(), off_because: z.array(z.string()) }),
  warnings: z.array(z.string()),
})
type Status = z.infer<typeof statusSchema>

/** What a pool must have to say how it is. */
export type StatusNeeds = Pick<
  ApiDeps,
  | 'runtime'
  | 'version'
  | 'poolId'
  | 'jobs'
  | 'models'
  | 'databaseAnswers'
  | 'isStopping'
  | 'admin'
  | 'federationMode'
  | 'toggles'
>

function workersOf({ admin }: StatusNeeds): Status['workers'] {
  const sum = { connected: 0, approved: 0, pending: 0, draining: 0, slots: 0, busy: 0 }
  for (const worker of admin.workers.list()) {
    sum.connected++
    sum[worker.standing]++
    if (worker.standing === 'pending') continue
    if (worker.draining) sum.draining++
    sum.slots += worker.slots
    sum.busy += worker.active
  }
  return sum
}

function fetchesOf({ admin }: StatusNeeds): Status['fetching'] {
  return admin.workers.list().flatMap((worker) => {
    const { fetching } = worker
    return fetching
      ? [{ worker: worker.id, model: fetching.name, bytes: fetching.bytes, bytes_of: fetching.bytesOf }]
      : []
  })
}

function warningsOf(deps: StatusNeeds, workers: Status['workers'], reason: string | null): string[] {
  const warnings = reason === null ? [] : [reason]
  if (workers.pending > 0) {
    const who = workers.pending === 1 ? '1 connected worker waits' : `${workers.pending} connected workers wait`
    warnings.push(`${who} for approval: \`lichen workers ls\`, then approve.`)
  }
  return [...warnings, ...deps.admin.warnings()]
}

/** How the pool is: everything `lichen status` shows. */
export function statusRoute(deps: StatusNeeds, counts: RequestCounts): Route {
  const startedAt = deps.runtime.monotonic()
  return route({
    method: 'GET',
    path: '/v1/admin/status',
    caller: 'auditor',
    summary: 'How the pool is.',
    reply: statusSchema,
    handle: async (): Promise<Status> => {
      const { ready, reason } = await readiness(deps)
      const { open, queued } = deps.jobs.load
      const workers = workersOf(deps)
      return {
        object: 'status',
        pool: deps.poolId,
        version: deps.version,
        uptime_seconds: Math.floor((deps.runtime.monotonic() - startedAt) / 1_000),
        ready,
        reason,
        database: { kind: deps.admin.database, answers: await deps.databaseAnswers() },
        queue: { jobs: open, waiting: queued, max: deps.admin.queueMax },
        workers,
        fetching: fetchesOf(deps),
        models: Object.fromEntries(deps.models.list().map((entry) => [entry.name, toModel(entry).lichen.workers])),
        requests: counts.now(),
        federation: { mode: deps.federationMode, off_because: [...(await deps.toggles.because())] },
        warnings: warningsOf(deps, workers, reason),
      }
    },
  })
}
