import { z } from 'zod'
import type { AppealRecord } from '#verification'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

const appealSchema = z.strictObject({
  object: z.literal('appeal'),
  id: z.string(),
  worker: z.string(),
  /** As the worker wrote it. */
  statement: z.string(),
  evidence: z.string().nullable(),
  opened_at: timeSchema,
  outcome: z.enum(['granted', 'refused']).nullable(),
  because: z.string().nullable(),
  decided_by: z.string().nullable(),
  decided_at: timeSchema.nullable(),
})

const decisionSchema = z.strictObject({ granted: z.boolean(), because: z.string().trim().min(1).max(200) })

function toRow(appeal: AppealRecord): z.infer<typeof appealSchema> {
  const { id, workerId, statement, evidence, openedAt, outcome, because, decidedBy, decidedAt } = appeal
  const said = { id, worker: workerId, statement, evidence, opened_at: timeText(openedAt) }
  return { object: 'appeal', ...said, outcome, because, decided_by: decidedBy, decided_at: timeOrNull(decidedAt) }
}

/** What convicted workers say for themselves, and what admins decide. */
export function appealRoutes({ appeals }: Pick<AdminDeps, 'appeals'>, limits: ApiLimits): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/appeals',
      caller: 'anyone',
      summary:
        'A convicted or blocked worker speaks for itself, signed with its key. The same bytes again are answered again.',
      body: z.strictObject({
        /** Wire form of a signed `appeal/1`, base64url. */
        appeal: z.string().min(1),
      }),
      reply: appealSchema,
      status: 201,
      handle: async ({ body }) => toRow(await appeals.submit(Buffer.from(body.appeal, 'base64url'))),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/appeals',
      caller: 'auditor',
      summary: 'Appeals of workers, oldest first, decided ones included.',
      query: pageQuery(limits, z.guid()),
      reply: pageSchema(appealSchema),
      handle: ({ query }) => pageOf(query, (page) => appeals.list(page), toRow),
    }),
    route({
      method: 'POST',
      path: '/v1/admin/appeals/:id/decide',
      caller: 'admin',
      summary: 'Decide an appeal, once. Granted: conviction and block are lifted, and what was taken goes back.',
      body: decisionSchema,
      reply: appealSchema,
      handle: async ({ params: { id = '' }, body: { granted, because }, actor }) =>
        toRow(await appeals.decide(id, { granted, because, by: actor })),
    }),
  ]
}
