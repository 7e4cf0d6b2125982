import { z } from 'zod'
import { type Actor, ownerNameSchema, roles, type UserRecord } from '#identity'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'
import { keyText, publicKeySchema } from './public-key.ts'

const userSchema = z.strictObject({
  object: z.literal('user'),
  id: z.string(),
  name: z.string(),
  role: z.enum(roles),
  /** Its account in the ledger. */
  account: z.string(),
  /** Raw Ed25519 key it signs orders with, base64url; null: the pool signs for it. */
  payer_key: z.string().nullable(),
  created_at: timeSchema,
  /** Since when its keys are refused. */
  disabled_at: timeSchema.nullable(),
})

const newUserSchema = z.strictObject({
  name: ownerNameSchema,
  /** At most your own; `user` when absent. */
  role: z.enum(roles).optional(),
  payer_key: publicKeySchema.nullish(),
})
const nothing = z.strictObject({})

function toRow(user: UserRecord): z.infer<typeof userSchema> {
  return {
    object: 'user',
    id: user.id,
    name: user.name,
    role: user.role,
    account: user.account,
    payer_key: user.payerKey && keyText(user.payerKey),
    created_at: timeText(user.createdAt),
    disabled_at: timeOrNull(user.disabledAt),
  }
}

/** Users: whom API keys belong to. In paths they are named by id or name. */
export function userRoutes({ identity }: Pick<AdminDeps, 'identity'>, limits: ApiLimits): Route[] {
  const act = <B extends z.ZodType>(
    name: string,
    summary: string,
    body: B,
    perform: (id: string, body: z.infer<B>, by: Actor) => Promise<UserRecord>,
  ) =>
    route({
      method: 'POST',
      path: `/v1/admin/users/:id/${name}`,
      caller: 'admin',
      summary,
      body,
      reply: userSchema,
      handle: async ({ params, body: wish, by }) => toRow(await perform(params.id ?? '', wish as z.infer<B>, by)),
    })
  return [
    route({
      method: 'POST',
      path: '/v1/admin/users',
      caller: 'admin',
      summary: 'Make a user. Its role is at most your own.',
      body: newUserSchema,
      reply: userSchema,
      status: 201,
      handle: async ({ body: { name, role, payer_key: payerKey }, by }) =>
        toRow(await identity.createUser({ name, ...(role ? { role } : {}), payerKey: payerKey ?? null }, by)),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/users',
      caller: 'auditor',
      summary: 'Users, oldest first, disabled ones included.',
      query: pageQuery(limits, z.guid()),
      reply: pageSchema(userSchema),
      handle: ({ query }) => pageOf(query, (page) => identity.listUsers(page), toRow),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/users/:id',
      caller: 'auditor',
      summary: 'One user, by id or name.',
      reply: userSchema,
      handle: async ({ params }) => toRow(await identity.showUser(params.id ?? '')),
    }),
    act(
      'role',
      'Give a user another role, at most your own.',
      z.strictObject({ role: z.enum(roles) }),
      (id, body, by) => identity.setUserRole(id, body.role, by),
    ),
    act(
      'payer-key',
      'Set the key a user signs its orders with; null takes it away.',
      z.strictObject({ payer_key: publicKeySchema.nullable() }),
      (id, body, by) => identity.setPayerKey(id, body.payer_key, by),
    ),
    act('disable', 'Refuse all keys of a user within a second. The last owner stays.', nothing, (id, _body, by) =>
      identity.disableUser(id, by),
    ),
    act('enable', 'Accept the keys of a disabled user again.', nothing, (id, _body, by) => identity.enableUser(id, by)),
  ]
}
