import { z } from 'zod'
import { type JobDetails, type JobSummary, jobStates } from '#jobs'
import { PoolError } from '#protocol'
import type { ApiDeps } from '../deps.ts'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

const jobSchema = z.strictObject({
  object: z.literal('job'),
  /** Also the receipt's id. */
  id: z.string(),
  state: z.enum(jobStates),
  kind: z.string(),
  key_id: z.string(),
  model: z.string(),
  digest: z.string().nullable(),
  choices: z.int(),
  streamed: z.boolean(),
  accepted_at: timeSchema,
  first_token_at: timeSchema.nullable(),
  ended_at: timeSchema.nullable(),
  prompt_tokens: z.int().nullable(),
  completion_tokens: z.int().nullable(),
  /** Why it failed. */
  code: z.string().nullable(),
})

const segmentSchema = z.strictObject({
  choice: z.int(),
  attempt: z.int(),
  worker: z.string(),
  digest: z.string().nullable(),
  outcome: z.string(),
  started_at: timeSchema,
  ended_at: timeSchema.nullable(),
  /** Pieces relayed in this segment. */
  pieces: z.int(),
  finish: z.string().nullable(),
  fault: z.string().nullable(),
  code: z.string().nullable(),
})

function toRow(job: JobSummary): z.infer<typeof jobSchema> {
  return {
    object: 'job',
    id: job.id,
    state: job.state,
    kind: job.kind,
    key_id: job.keyId,
    model: job.model,
    digest: job.digest,
    choices: job.choices,
    streamed: job.streamed,
    accepted_at: timeText(job.acceptedAt),
    first_token_at: timeOrNull(job.firstTokenAt),
    ended_at: timeOrNull(job.endedAt),
    prompt_tokens: job.promptTokens,
    completion_tokens: job.completionTokens,
    code: job.code,
  }
}

function toSegment(segment: JobDetails['segments'][number]): z.infer<typeof segmentSchema> {
  return {
    choice: segment.choice,
    attempt: segment.attempt,
    worker: segment.workerId,
    digest: segment.digest,
    outcome: segment.outcome,
    started_at: timeText(segment.startedAt),
    ended_at: timeOrNull(segment.endedAt),
    pieces: segment.pieces,
    finish: segment.finish,
    fault: segment.fault,
    code: segment.code,
  }
}

const uuid = z.guid()

/** Jobs on record: who asked for how much of what, and which workers computed it. Never what was said. */
export function jobRoutes(jobs: Pick<ApiDeps['jobs'], 'list' | 'show'>, limits: ApiLimits): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/admin/jobs',
      caller: 'auditor',
      summary: 'Jobs on record, newest first.',
      query: pageQuery(limits, uuid).extend({ state: z.enum(jobStates).optional() }),
      reply: pageSchema(jobSchema),
      handle: ({ query }) => pageOf(query, (page) => jobs.list({ ...page, state: query.state }), toRow),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/jobs/:id',
      caller: 'auditor',
      summary: 'One job and its segments.',
      reply: jobSchema.extend({ segments: z.array(segmentSchema) }),
      handle: async ({ params }) => {
        const job = uuid.safeParse(params.id).success ? await jobs.show(params.id ?? '') : undefined
        if (!job) throw new PoolError('not_found', 'There is no such job.', 'See `GET /v1/admin/jobs`.')
        return { ...toRow(job), segments: job.segments.map(toSegment) }
      },
    }),
  ]
}
