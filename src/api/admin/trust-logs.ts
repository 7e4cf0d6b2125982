import { z } from 'zod'
import { hex64 } from '#protocol'
import type { ReputationRecord, VerificationRecord } from '#verification'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

const verificationSchema = z.strictObject({
  object: z.literal('inference_verification'),
  id: z.string(),
  job: z.string(),
  worker: z.string(),
  model: z.string(),
  /** Why it was owed a look: `sampled`, `unsigned`, `doubt`, `reference`. */
  reason: z.string(),
  /** `owed`, `assigned`, `committed`, `revealed`; ended: `clean`, `hit`, `waived`. */
  state: z.string(),
  /** Why nobody looked. */
  waived: z.string().nullable(),
  verifier: z.string().nullable(),
  /** Mean margin of the first look, in logits. */
  score: z.number().nullable(),
  /** Chance of being checked, parts per million. */
  q_ppm: z.int(),
  /** UTC hours since 1970. */
  epoch: z.int(),
  owed_at: timeSchema,
  ended_at: timeSchema.nullable(),
})

const reputationSchema = z.strictObject({
  object: z.literal('worker_reputation'),
  id: z.string(),
  worker: z.string(),
  model: z.string(),
  /** `serve`: its own answers; `verify`: what it says of others'. */
  duty: z.enum(['serve', 'verify']),
  phase: z.enum(['probation', 'trusted', 'paused', 'frozen', 'convicted']),
  /** Clean checks since it came, or since its reset. */
  clean: z.int(),
  /** Of the charts, micronats; the alarm is at 14,914,123. */
  heights: z.array(z.int()),
  /** Routing weight: with 95 % probability its share of good answers is above it. */
  weight: z.number(),
  accusers: z.array(z.string()),
  changed_at: timeSchema,
})

function toVerification(record: VerificationRecord): z.infer<typeof verificationSchema> {
  const { id, jobId, workerId, model, reason, state, waived, verifier, score, qPpm, epoch, owedAt, endedAt } = record
  const what = { id, job: jobId, worker: workerId, model, reason, state, waived, verifier, score, q_ppm: qPpm, epoch }
  return { object: 'inference_verification', ...what, owed_at: timeText(owedAt), ended_at: timeOrNull(endedAt) }
}

function toReputation(record: ReputationRecord): z.infer<typeof reputationSchema> {
  const { id, workerId, model, duty, phase, clean, heights, weight, accusers, changedAt } = record
  const standing = { id, worker: workerId, model, duty, phase, clean, heights: [...heights], weight }
  return { object: 'worker_reputation', ...standing, accusers: [...accusers], changed_at: timeText(changedAt) }
}

/** What was looked at, and what it did to those who computed it. */
export function trustLogRoutes({ trustLogs }: Pick<AdminDeps, 'trustLogs'>, limits: ApiLimits): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/admin/inference_verifications',
      caller: 'auditor',
      summary: 'Answers that were owed a look, oldest first; of one worker with `worker`.',
      query: pageQuery(limits, z.guid()).extend({ worker: hex64.optional() }),
      reply: pageSchema(verificationSchema),
      handle: ({ query }) =>
        pageOf(query, (page) => trustLogs.verifications({ ...page, worker: query.worker }), toVerification),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/worker_reputation',
      caller: 'auditor',
      summary: 'How workers stand with each model, in each duty; of one worker with `worker`.',
      query: pageQuery(limits, z.string().max(300)).extend({ worker: hex64.optional() }),
      reply: pageSchema(reputationSchema),
      handle: ({ query }) =>
        pageOf(query, (page) => trustLogs.reputation({ ...page, worker: query.worker }), toReputation),
    }),
  ]
}
