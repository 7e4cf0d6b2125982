import { z } from 'zod'
import { eventTypes, observabilityLimits } from '#observability'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeSchema, timeText } from './page.ts'

const eventSchema = z.strictObject({
  object: z.literal('event'),
  id: z.string(),
  type: z.enum(eventTypes),
  /** Id of the worker or pool it happened to. */
  subject: z.string(),
  at: timeSchema,
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
})

const types = z
  .string()
  .max(200)
  .transform((text) => text.split(','))
  .pipe(z.array(z.enum(eventTypes)))

/** What happened to workers and neighbours of late. */
export function eventRoute({ journal }: Pick<AdminDeps, 'journal'>, limits: ApiLimits): Route {
  return route({
    method: 'GET',
    path: '/v1/admin/events',
    caller: 'auditor',
    summary: 'Who came and went, and whose circuit opened; oldest first.',
    query: pageQuery(limits, z.string().regex(/^[1-9]\d{0,17}$/, 'a whole number from 1 up, in decimal')).extend({
      type: types.optional(),
      since: z.iso.datetime().transform(Date.parse).optional(),
    }),
    reply: pageSchema(eventSchema),
    handle: ({ query: { type, since, after, limit } }) =>
      pageOf(
        { after, limit: Math.min(limit, observabilityLimits.eventsPageMax) },
        (page) =>
          journal.read({ ...page, ...(type ? { types: type } : {}), ...(since === undefined ? {} : { since }) }),
        ({ at, ...event }) => ({ object: 'event' as const, ...event, at: timeText(at) }),
      ),
  })
}
