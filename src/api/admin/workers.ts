import { z } from 'zod'
import type { WorkerAct, WorkerRecord } from '#identity'
import { hex64, modelFeatures, PoolError } from '#protocol'
import type { ConnectedWorker } from '#workers'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

const workerSchema = z.strictObject({
  object: z.literal('worker'),
  /** sha256 of its public key. */
  id: z.string(),
  operator: z.string(),
  standing: z.enum(['pending', 'approved', 'expired', 'revoked']),
  joined_at: timeSchema,
  expires_at: timeSchema,
  /** Whether it has a session with this pool process now. What follows is null or 0 without one. */
  connected: z.boolean(),
  connected_since: timeSchema.nullable(),
  agent: z.string().nullable(),
  /** Where its session comes from. */
  address: z.string().nullable(),
  draining: z.boolean(),
  /** `open`: failed too often, no work for a while; `half_open`: one run at a time, on trial. */
  circuit: z.enum(['closed', 'open', 'half_open']),
  slots: z.int(),
  active: z.int(),
  /** Measured by the pool; null until it has computed something. */
  tokens_per_second: z.number().nullable(),
  /** What it would take of models that the pool chooses, in bytes; null: its owner lets nobody choose. */
  accepts: z.strictObject({ disk_bytes: z.int(), memory_bytes: z.int() }).nullable(),
  /** The model it fetches from the pool. */
  fetching: z.strictObject({ model: z.string(), digest: z.string(), bytes: z.int(), bytes_of: z.int() }).nullable(),
  models: z.array(
    z.strictObject({
      name: z.string(),
      digest: z.string().nullable(),
      engine: z.string(),
      context: z.int(),
      features: z.array(z.enum(modelFeatures)),
    }),
  ),
})

const actSchema = z.strictObject({
  act: z.enum(['invited', 'joined', 'approved', 'renewed', 'revoked']),
  by: z.string(),
  at: timeSchema,
  /** Until when its key was good after this act. */
  expires_at: timeSchema.nullable(),
})

const workerDetailsSchema = workerSchema.extend({
  acts: z.array(actSchema),
  /** What it did against the protocol, of late. */
  violations: z.array(z.strictObject({ at: timeSchema, message: z.string() })),
})

const nothing = z.strictObject({})
const renewSchema = z.strictObject({ expires_in_ms: z.int().min(1_000).nullish() })
const drainSchema = z.strictObject({
  /** False: new work again. */
  on: z.boolean().default(true),
})

const absent = {
  connected: false,
  connected_since: null,
  agent: null,
  address: null,
  draining: false,
  slots: 0,
  active: 0,
  accepts: null,
  fetching: null,
} as const

function sessionOf(worker: ConnectedWorker | undefined) {
  if (!worker) return { ...absent, tokens_per_second: null, models: [] }
  return {
    connected: true,
    connected_since: timeText(worker.since),
    agent: worker.agent,
    address: worker.address || null,
    draining: worker.draining,
    slots: worker.slots,
    active: worker.active,
    tokens_per_second: worker.tokensPerSecond > 0 ? worker.tokensPerSecond : null,
    accepts: worker.room ? { disk_bytes: worker.room.diskBytes, memory_bytes: worker.room.memoryBytes } : null,
    fetching: fetchingOf(worker),
    models: worker.offers.map(({ name, digest, engine, contextTokens, features }) => {
      return { name, digest, engine, context: contextTokens, features: [...features] }
    }),
  }
}

/** What a worker fetches, as a reply has it. */
function fetchingOf({ fetching }: Pick<ConnectedWorker, 'fetching'>) {
  return fetching
    ? { model: fetching.name, digest: fetching.digest, bytes: fetching.bytes, bytes_of: fetching.bytesOf }
    : null
}

function toAct({ act, by, at, expiresAt }: WorkerAct): z.infer<typeof actSchema> {
  return { act, by, at: timeText(at), expires_at: timeOrNull(expiresAt) }
}

type Needs = Pick<AdminDeps, 'identity' | 'workers' | 'trust'>

/** Workers: what their keys may, and what they do now. */
export function workerRoutes({ identity, workers, trust }: Needs, now: () => number, limits: ApiLimits): Route[] {
  const toRow = (record: WorkerRecord): z.infer<typeof workerSchema> => {
    const expired = record.standing !== 'revoked' && record.expiresAt <= now()
    return {
      object: 'worker',
      id: record.id,
      operator: record.operator,
      standing: expired ? 'expired' : record.standing,
      joined_at: timeText(record.joinedAt),
      expires_at: timeText(record.expiresAt),
      ...sessionOf(workers.show(record.id).worker),
      circuit: trust.circuitOf(record.id),
    }
  }
  const act = <B extends z.ZodType>(
    name: string,
    summary: string,
    body: B,
    perform: (id: string, body: z.infer<B>, actor: string) => Promise<WorkerRecord>,
    caller: 'operator' | 'admin' = 'operator',
  ) =>
    route({
      method: 'POST',
      path: `/v1/admin/workers/:id/${name}`,
      caller,
      summary,
      body,
      reply: workerSchema,
      handle: async ({ params, body: wish, actor }) => toRow(await perform(params.id ?? '', wish as z.infer<B>, actor)),
    })
  return [
    route({
      method: 'GET',
      path: '/v1/admin/workers',
      caller: 'auditor',
      summary: 'Workers that have joined, by id.',
      query: pageQuery(limits, hex64),
      reply: pageSchema(workerSchema),
      handle: ({ query }) => pageOf(query, (page) => identity.listWorkers(page), toRow),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/workers/:id',
      caller: 'auditor',
      summary: 'One worker, and who did what to its key. The first digits of an id are enough.',
      reply: workerDetailsSchema,
      handle: async ({ params }) => {
        const { acts, ...record } = await identity.showWorker(params.id ?? '')
        const violations = workers.show(record.id).violations.map(({ at, message }) => ({ at: timeText(at), message }))
        return { ...toRow(record), acts: acts.map(toAct), violations }
      },
    }),
    act('approve', 'Let a pending worker serve.', nothing, (id, _body, actor) => identity.approveWorker(id, actor)),
    act(
      'renew',
      'Let an expired or revoked worker serve again, or a serving one longer.',
      renewSchema,
      (id, body, actor) =>
        identity.renewWorker(id, body.expires_in_ms ? { expiresInMs: body.expires_in_ms } : {}, actor),
    ),
    act('revoke', 'End its session within a second and refuse its key from now on.', nothing, (id, _body, actor) =>
      identity.revokeWorker(id, actor),
    ),
    act('drain', 'Give it nothing new; what runs may end.', drainSchema, async (id, { on }, actor) => {
      const { acts: _, ...record } = await identity.showWorker(id)
      if (!workers.drain(record.id, on)) {
        throw new PoolError('conflict', 'This worker is not connected.', 'There is nothing to drain.')
      }
      await identity.recordAct(actor, { action: 'worker.drain', subject: `worker:${record.id}`, details: { on } })
      return record
    }),
    act(
      'reset',
      'A fresh start: its circuit closes, and nothing that checks found counts for or against it any longer. Blocked operators and revoked keys stay so.',
      nothing,
      async (id, _body, actor) => {
        const { acts: _, ...record } = await identity.showWorker(id)
        await trust.reset(record.id, actor)
        return record
      },
      'admin',
    ),
  ]
}
