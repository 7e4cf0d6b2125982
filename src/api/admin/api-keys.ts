import { z } from 'zod'
import type { ApiKeyRecord } from '#identity'
import type { Runtime } from '#runtime'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

const keySchema = z.strictObject({
  object: z.literal('api_key'),
  id: z.string(),
  name: z.string(),
  created_at: timeSchema,
  expires_at: timeSchema.nullable(),
  revoked_at: timeSchema.nullable(),
  /** The only models it may ask for; null: all. */
  models: z.array(z.string()).nullable(),
  requests_per_minute: z.int().nullable(),
  weight: z.number(),
})

const newKeySchema = z.strictObject({
  name: z.string().trim().min(1).max(200),
  expires_in_ms: z
    .int()
    .min(1_000)
    .max(100 * 366 * 86_400_000)
    .nullish(),
  models: z.array(z.string().min(1).max(200)).min(1).max(256).nullish(),
  requests_per_minute: z.int().min(1).max(1_000_000).nullish(),
  /** Its share when requests wait, compared with other keys. */
  weight: z.number().min(0.001).max(1_000).nullish(),
})

function toRow(key: ApiKeyRecord): z.infer<typeof keySchema> {
  return {
    object: 'api_key',
    id: key.id,
    name: key.name,
    created_at: timeText(key.createdAt),
    expires_at: timeOrNull(key.expiresAt),
    revoked_at: timeOrNull(key.revokedAt),
    models: key.models === null ? null : [...key.models],
    requests_per_minute: key.requestsPerMinute,
    weight: key.weight,
  }
}

/** API keys: made, listed, revoked. */
export function apiKeyRoutes({ identity }: Pick<AdminDeps, 'identity'>, runtime: Runtime, limits: ApiLimits): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/admin/keys',
      caller: 'owner',
      summary: 'Make an API key. The answer is the only place where the key itself stands.',
      body: newKeySchema,
      reply: keySchema.extend({ key: z.string() }),
      status: 201,
      handle: async ({ body }) => {
        const made = await identity.createApiKey({
          name: body.name,
          expiresAt: body.expires_in_ms ? runtime.now() + body.expires_in_ms : null,
          models: body.models ?? null,
          requestsPerMinute: body.requests_per_minute ?? null,
          weight: body.weight ?? 1,
        })
        return { ...toRow(made), key: made.key }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/admin/keys',
      caller: 'owner',
      summary: 'API keys, oldest first, revoked ones included.',
      query: pageQuery(limits, z.guid()),
      reply: pageSchema(keySchema),
      handle: ({ query }) => pageOf(query, (page) => identity.listApiKeys(page), toRow),
    }),
    route({
      method: 'DELETE',
      path: '/v1/admin/keys/:id',
      caller: 'owner',
      summary: 'Revoke an API key; it is refused within a second. Doing it again changes nothing.',
      reply: keySchema,
      handle: async ({ params }) => toRow(await identity.revokeApiKey(params.id ?? '')),
    }),
  ]
}
