import { z } from 'zod'
import { federationLimits, type TokenPeer } from '#federation'
import type { ApiDeps } from '../deps.ts'
import { type Route, route } from '../route.ts'
import { pageSchema, timeSchema, timeText } from './page.ts'

const tokenPeerSchema = z.strictObject({
  object: z.literal('token_peer'),
  /** The pool that issues. */
  peer: z.string(),
  /** API key here that its tokens count as. */
  api_key: z.string(),
  allowed_at: timeSchema,
  allowed_by: z.string(),
})

const toRow = ({ peerId, apiKeyId, allowedAt, allowedBy }: TokenPeer): z.infer<typeof tokenPeerSchema> => ({
  object: 'token_peer',
  peer: peerId,
  api_key: apiKeyId,
  allowed_at: timeText(allowedAt),
  allowed_by: allowedBy,
})

const peer = z.string().regex(/^[0-9a-f]{6,64}$/, 'the id of a pool, or its first 6 hex digits or more')
const base = '/v1/admin/federation/tokens'

/** Tokens for users: issued for another pool, and which pools' tokens count here. */
export function federationTokenRoutes({ tokens }: Pick<ApiDeps, 'tokens'>): Route[] {
  return [
    route({
      method: 'POST',
      path: base,
      caller: 'admin',
      summary: 'Issue a token (JWT) about the holder of an API key, for one pool, for a day at most.',
      body: z.strictObject({
        api_key: z.guid(),
        audience: peer,
        lives_ms: z.int().min(1_000).max(federationLimits.tokenLifeMsMax).default(3_600_000),
      }),
      reply: z.strictObject({
        object: z.literal('token'),
        id: z.string(),
        token: z.string(),
        audience: z.string(),
        expires_at: timeSchema,
      }),
      status: 201,
      handle: async ({ body: { api_key: apiKeyId, audience, lives_ms: lifeMs }, actor }) => {
        const { expiresAt, ...issued } = await tokens.issue({ apiKeyId, audience, lifeMs }, actor)
        return { object: 'token', ...issued, expires_at: timeText(expiresAt) }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/revoke`,
      caller: 'admin',
      summary: 'One token counts no more: here at once, and at bonded pools where this one issued it.',
      body: z.strictObject({
        /** The token, or its id (`jti`). */
        token: z.string().min(1).max(federationLimits.tokenCharsMax),
        /** Who issued it; this pool, unless given or told by the token. */
        issuer: peer.optional(),
      }),
      reply: z.strictObject({
        object: z.literal('revoked_token'),
        id: z.string(),
        issuer: z.string(),
        /** When it would have ended at the latest. */
        until: timeSchema,
      }),
      handle: async ({ body, actor }) => {
        const { until, ...revoked } = await tokens.revoke(body, actor)
        return { object: 'revoked_token', ...revoked, until: timeText(until) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/peers`,
      caller: 'auditor',
      summary: 'Pools whose tokens count here.',
      reply: pageSchema(tokenPeerSchema),
      handle: async () => ({ object: 'list', data: (await tokens.list()).map(toRow), has_more: false }),
    }),
    route({
      method: 'POST',
      path: `${base}/peers`,
      caller: 'admin',
      summary: 'Let tokens of a bonded pool count as an API key here; null: not any more.',
      body: z.strictObject({ peer, api_key: z.guid().nullable() }),
      reply: z.strictObject({ object: z.literal('token_peers'), data: z.array(tokenPeerSchema) }),
      handle: async ({ body, actor }) => {
        await tokens.allow(body.peer, body.api_key, actor)
        return { object: 'token_peers', data: (await tokens.list()).map(toRow) }
      },
    }),
  ]
}
