import { z } from 'zod'
import { encodeInvite, type InviteRecord, type OperatorRecord, ownerNameSchema } from '#identity'
import type { PoolId } from '#protocol'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'

const newInviteSchema = z.strictObject({
  /** Whose worker it will be; made when new. */
  operator: ownerNameSchema,
  /** How long the worker may serve from its joining; 30 days when absent. */
  expires_in_ms: z.int().min(1_000).nullish(),
})

const newlyMadeSchema = z.strictObject({
  object: z.literal('invite'),
  id: z.string(),
  /** What `lichen worker join` takes; stands nowhere else. */
  invite: z.string(),
  operator: z.string(),
  token_expires_at: timeSchema,
  /** If it joined now. */
  worker_expires_at: timeSchema,
})

const inviteSchema = z.strictObject({
  object: z.literal('invite'),
  id: z.string(),
  operator: z.string(),
  state: z.enum(['open', 'used', 'expired']),
  created_by: z.string(),
  created_at: timeSchema,
  token_expires_at: timeSchema,
  /** How long a worker that joins with it may serve. */
  expires_in_ms: z.int(),
  /** The worker that joined with it. */
  used_by: z.string().nullable(),
  used_at: timeSchema.nullable(),
})

const operatorSchema = z.strictObject({
  object: z.literal('operator'),
  id: z.string(),
  name: z.string(),
  created_at: timeSchema,
  /** Since when nobody lends for it: a worker of it was convicted. */
  blocked_at: timeSchema.nullable(),
  /** Its workers whose keys are not revoked. */
  workers: z.int(),
})

function toInvite(invite: InviteRecord, nowMs: number): z.infer<typeof inviteSchema> {
  return {
    object: 'invite',
    id: invite.id,
    operator: invite.operator,
    state: invite.usedBy !== null ? 'used' : invite.validUntil <= nowMs ? 'expired' : 'open',
    created_by: invite.createdBy,
    created_at: timeText(invite.createdAt),
    token_expires_at: timeText(invite.validUntil),
    expires_in_ms: invite.expiresInMs,
    used_by: invite.usedBy,
    used_at: timeOrNull(invite.usedAt),
  }
}

function toOperator({ id, name, createdAt, blockedAt, workers }: OperatorRecord): z.infer<typeof operatorSchema> {
  return { object: 'operator', id, name, created_at: timeText(createdAt), blocked_at: timeOrNull(blockedAt), workers }
}

/** Invites, one worker each, and the operators they were made for. */
export function inviteRoutes(
  { identity, inviteUrl }: Pick<AdminDeps, 'identity' | 'inviteUrl'>,
  poolId: PoolId,
  now: () => number,
  limits: ApiLimits,
): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/admin/invites',
      caller: 'operator',
      summary: 'Invite one worker. The invite is good once, for 24 hours.',
      body: newInviteSchema,
      reply: newlyMadeSchema,
      status: 201,
      handle: async ({ body: { operator, expires_in_ms: ms }, actor }) => {
        const made = await identity.invite({ operator, by: actor, ...(ms ? { expiresInMs: ms } : {}) })
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
    route({
      method: 'GET',
      path: '/v1/admin/invites',
      caller: 'auditor',
      summary: 'Invites, oldest first, used and expired ones included.',
      query: pageQuery(limits, z.guid()),
      reply: pageSchema(inviteSchema),
      handle: ({ query }) =>
        pageOf(
          query,
          (page) => identity.listInvites(page),
          (invite) => toInvite(invite, now()),
        ),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/operators',
      caller: 'auditor',
      summary: 'Those who lend workers, oldest first.',
      query: pageQuery(limits, z.guid()),
      reply: pageSchema(operatorSchema),
      handle: ({ query }) => pageOf(query, (page) => identity.listOperators(page), toOperator),
    }),
    route({
      method: 'POST',
      path: '/v1/admin/operators/:id/unblock',
      caller: 'admin',
      summary: 'Let an operator lend again. Revoked keys of its workers stay revoked until each is renewed.',
      reply: z.strictObject({ object: z.literal('operator'), id: z.string(), blocked_at: z.null() }),
      handle: async ({ params: { id = '' }, actor }) => {
        await identity.unblockOperator(id, actor)
        return { object: 'operator' as const, id, blocked_at: null }
      },
    }),
  ]
}
