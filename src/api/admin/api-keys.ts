import { z } from 'zod'
import { type ApiKeyChange, type ApiKeyRecord, ownerNameSchema, payerSignatures, roles } from '#identity'
import { assuranceLevels, assuranceWorkers, privacyModes } from '#protocol'
import type { Runtime } from '#runtime'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { amountText, microCreditsSchema, toAmount } from './credits.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

const keySchema = z.strictObject({
  object: z.literal('api_key'),
  id: z.string(),
  name: z.string(),
  user_id: z.string(),
  /** The user's name. */
  user: z.string(),
  /** What it counts as: the lesser of its own role and its user's. */
  role: z.enum(roles),
  created_at: timeSchema,
  expires_at: timeSchema.nullable(),
  revoked_at: timeSchema.nullable(),
  user_disabled_at: timeSchema.nullable(),
  /** The only models it may ask for; null: all. */
  models: z.array(z.string()).nullable(),
  /** Limits; null: none of its own. Budgets are micro-credits. */
  requests_per_minute: z.int().nullable(),
  tokens_per_minute: z.int().nullable(),
  budget_total: z.string().nullable(),
  budget_per_day: z.string().nullable(),
  weight: z.number(),
  payer_signature: z.enum(payerSignatures),
  /** What its requests ask for when they say nothing; null: the pool's policy. */
  assurance: z.enum(assuranceLevels).nullable(),
  privacy: z.enum(privacyModes),
  /** Whether other pools may compute what it asks for. */
  forwarding: z.boolean(),
  /** Workers that compute an answer with the assurance `required`; null: the pool's setting. */
  required_workers: z.int().nullable(),
})

/** What a key may: for a new one, and for a change, where null takes a limit away and what is left out stays. */
const mayShape = {
  role: z.enum(roles).optional(),
  expires_in_ms: z
    .int()
    .min(1_000)
    .max(100 * 366 * 86_400_000)
    .nullish(),
  models: z.array(ownerNameSchema).min(1).max(256).nullish(),
  requests_per_minute: z.int().min(1).max(1_000_000).nullish(),
  tokens_per_minute: z.int().min(1).max(1_000_000_000).nullish(),
  /** Micro-credits it may spend in its life, and on one UTC day. */
  budget_total: microCreditsSchema.nullish(),
  budget_per_day: microCreditsSchema.nullish(),
  /** Its share when requests wait, compared with other keys. */
  weight: z.number().min(0.001).max(1_000).nullish(),
  /** `required`: only orders that its user signed are accepted. */
  payer_signature: z.enum(payerSignatures).optional(),
  assurance: z.enum(assuranceLevels).nullish(),
  privacy: z.enum(privacyModes).optional(),
  forwarding: z.boolean().optional(),
  required_workers: z.int().min(assuranceWorkers.min).max(assuranceWorkers.max).nullish(),
}
const changeSchema = z.strictObject(mayShape)
const newKeySchema = z.strictObject({
  name: ownerNameSchema,
  /** Id or name; that of the key you send when absent, else the first owner. */
  user: z.string().min(1).max(200).optional(),
  ...mayShape,
})

function toRow(key: ApiKeyRecord): z.infer<typeof keySchema> {
  return {
    object: 'api_key',
    id: key.id,
    name: key.name,
    user_id: key.userId,
    user: key.user,
    role: key.role,
    created_at: timeText(key.createdAt),
    expires_at: timeOrNull(key.expiresAt),
    revoked_at: timeOrNull(key.revokedAt),
    user_disabled_at: timeOrNull(key.userDisabledAt),
    models: key.models === null ? null : [...key.models],
    requests_per_minute: key.requestsPerMinute,
    tokens_per_minute: key.tokensPerMinute,
    budget_total: amountText(key.budgetTotal),
    budget_per_day: amountText(key.budgetPerDay),
    weight: key.weight,
    payer_signature: key.payerSignature,
    assurance: key.assurance,
    privacy: key.privacy,
    forwarding: key.forwarding,
    required_workers: key.requiredWorkers,
  }
}

/** Members that were left out stay out. */
function toChange(body: z.infer<typeof changeSchema>, nowMs: number): ApiKeyChange {
  const { expires_in_ms: ms } = body
  const change = {
    role: body.role,
    expiresAt: typeof ms === 'number' ? nowMs + ms : ms,
    models: body.models,
    requestsPerMinute: body.requests_per_minute,
    tokensPerMinute: body.tokens_per_minute,
    budgetTotal: toAmount(body.budget_total),
    budgetPerDay: toAmount(body.budget_per_day),
    weight: body.weight ?? undefined,
    payerSignature: body.payer_signature,
    assurance: body.assurance,
    privacy: body.privacy,
    forwarding: body.forwarding,
    requiredWorkers: body.required_workers,
  }
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
}

/** API keys: made, listed, changed, revoked. */
export function apiKeyRoutes({ identity }: Pick<AdminDeps, 'identity'>, runtime: Runtime, limits: ApiLimits): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/admin/keys',
      caller: 'admin',
      summary: 'Make an API key. The answer is the only place where the key itself stands.',
      body: newKeySchema,
      reply: keySchema.extend({ key: z.string() }),
      status: 201,
      handle: async ({ body: { name, user, ...may }, by }) => {
        const made = await identity.createApiKey({ name, user, ...toChange(may, runtime.now()) }, by)
        return { ...toRow(made), key: made.key }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/admin/keys',
      caller: 'auditor',
      summary: 'API keys, oldest first, revoked ones included.',
      query: pageQuery(limits, z.guid()).extend({ user: z.string().min(1).max(200).optional() }),
      reply: pageSchema(keySchema),
      handle: ({ query }) => pageOf(query, (page) => identity.listApiKeys({ ...page, user: query.user }), toRow),
    }),
    route({
      method: 'POST',
      path: '/v1/admin/keys/:id',
      caller: 'admin',
      summary: 'Change what an API key may; it acts within a second. Null takes a limit away, what is left out stays.',
      body: changeSchema,
      reply: keySchema,
      handle: async ({ params, body, by }) =>
        toRow(await identity.changeApiKey(params.id ?? '', toChange(body, runtime.now()), by)),
    }),
    route({
      method: 'DELETE',
      path: '/v1/admin/keys/:id',
      caller: 'admin',
      summary: 'Revoke an API key; it is refused within a second. Doing it again changes nothing.',
      reply: keySchema,
      handle: async ({ params, by }) => toRow(await identity.revokeApiKey(params.id ?? '', by)),
    }),
  ]
}
