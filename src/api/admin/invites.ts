import { z } from 'zod'
import { encodeInvite } from '#identity'
import type { PoolId } from '#protocol'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { timeSchema, timeText } from './page.ts'

const newInviteSchema = z.strictObject({
  /** Whose worker it will be; made when new. */
  operator: z.string().trim().min(1).max(200),
  /** How long the worker may serve from its joining; 30 days when absent. */
  expires_in_ms: z.int().min(1_000).nullish(),
})

const inviteSchema = z.strictObject({
  object: z.literal('invite'),
  id: z.string(),
  /** What `lichen worker join` takes; stands nowhere else. */
  invite: z.string(),
  operator: z.string(),
  token_expires_at: timeSchema,
  /** If it joined now. */
  worker_expires_at: timeSchema,
})

/** Invites: one worker each. */
export function inviteRoutes(
  { identity, inviteUrl }: Pick<AdminDeps, 'identity' | 'inviteUrl'>,
  poolId: PoolId,
  now: () => number,
): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/admin/invites',
      caller: 'owner',
      summary: 'Invite one worker. The invite is good once, for 24 hours.',
      body: newInviteSchema,
      reply: inviteSchema,
      status: 201,
      handle: async ({ body: { operator, expires_in_ms: ms } }) => {
        const made = await identity.invite({ operator, by: 'owner', ...(ms ? { expiresInMs: ms } : {}) })
        return {
          object: 'invite',
          id: made.id,
          invite: encodeInvite({ url: inviteUrl(), poolId, token: made.token }),
          operator,
          token_expires_at: timeText(made.validUntil),
          worker_expires_at: timeText(now() + made.expiresInMs),
        }
      },
    }),
  ]
}
