import { z } from 'zod'
import { type ToggleRow, toggleNames } from '#federation'
import type { ApiDeps } from '../deps.ts'
import { type Route, route } from '../route.ts'
import { timeSchema, timeText } from './page.ts'

const toggleSchema = z.strictObject({
  object: z.literal('toggle'),
  /** `kill`: the kill switch; `read`, `write`: kinds of admin requests that are let in; `accept`, `forward`: lent work. */
  name: z.enum(toggleNames),
  on: z.boolean(),
  changed_at: timeSchema,
  /** `default` where nobody has touched it. */
  changed_by: z.string(),
  reason: z.string(),
})

const toRow = ({ name, isOn, changedAt, changedBy, reason }: ToggleRow): z.infer<typeof toggleSchema> => ({
  object: 'toggle',
  name,
  on: isOn,
  changed_at: timeText(changedAt),
  changed_by: changedBy,
  reason,
})

const reasonSchema = z.strictObject({ reason: z.string().max(200).default('') })
const base = '/v1/admin/federation'

/** The switches of federation, and the one that stops it all. */
export function federationSwitchRoutes({ toggles }: Pick<ApiDeps, 'toggles'>): Route[] {
  return [
    route({
      method: 'GET',
      path: `${base}/switches`,
      caller: 'auditor',
      summary: 'What is switched on and off between pools, and what keeps federation off now.',
      reply: z.strictObject({
        object: z.literal('switches'),
        /** Files, or `lichen fed kill`, or what cannot be known, as `database slow`; empty: federation runs. */
        off_because: z.array(z.string()),
        data: z.array(toggleSchema),
      }),
      handle: async () => ({
        object: 'switches',
        data: (await toggles.list()).map(toRow),
        off_because: [...(await toggles.because())],
      }),
    }),
    route({
      method: 'POST',
      path: `${base}/kill`,
      caller: 'operator',
      summary: 'Stop all federation: the next request is refused, no call is made, what runs ends within a second.',
      body: reasonSchema,
      reply: toggleSchema,
      handle: async ({ body: { reason }, actor }) => toRow(await toggles.set('kill', true, { actor, reason })),
    }),
    route({
      method: 'POST',
      path: `${base}/resume`,
      caller: 'admin',
      summary: 'Let federation run again. Refused while a file keeps it off.',
      body: reasonSchema,
      reply: toggleSchema,
      handle: async ({ body: { reason }, actor }) => toRow(await toggles.set('kill', false, { actor, reason })),
    }),
    route({
      method: 'POST',
      path: `${base}/toggles`,
      caller: 'admin',
      summary: 'Let a kind of admin request in, or work to or from other pools, or not. `write` needs admin keys.',
      body: z.strictObject({
        name: z.enum(toggleNames).exclude(['kill']),
        on: z.boolean(),
        reason: z.string().max(200).default(''),
      }),
      reply: toggleSchema,
      handle: async ({ body: { name, on, reason }, actor }) => toRow(await toggles.set(name, on, { actor, reason })),
    }),
  ]
}
