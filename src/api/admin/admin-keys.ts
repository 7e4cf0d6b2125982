import { z } from 'zod'
import { type AdminKeyRecord, ownerNameSchema } from '#identity'
import { hex64 } from '#protocol'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import type { AdminDeps } from './admin-deps.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'
import { keyText, publicKeySchema } from './public-key.ts'

const adminKeySchema = z.strictObject({
  object: z.literal('admin_key'),
  /** sha256 of the public key. */
  id: z.string(),
  name: z.string(),
  public_key: z.string(),
  created_at: timeSchema,
  revoked_at: timeSchema.nullable(),
  added_by: z.string(),
})

function toRow(key: AdminKeyRecord): z.infer<typeof adminKeySchema> {
  return {
    object: 'admin_key',
    id: key.id,
    name: key.name,
    public_key: keyText(key.publicKey),
    created_at: timeText(key.createdAt),
    revoked_at: timeOrNull(key.revokedAt),
    added_by: key.addedBy,
  }
}

/** Admin keys: the public halves of those that sign grants. */
export function adminKeyRoutes({ identity }: Pick<AdminDeps, 'identity'>, limits: ApiLimits): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/admin/admin-keys',
      caller: 'owner',
      summary: 'Accept grants signed with this key. From the first one on the pool grants nothing by itself.',
      body: z.strictObject({ name: ownerNameSchema, public_key: publicKeySchema }),
      reply: adminKeySchema,
      status: 201,
      handle: async ({ body: { name, public_key: publicKey }, by }) =>
        toRow(await identity.addAdminKey({ name, publicKey }, by)),
    }),
    route({
      method: 'GET',
      path: '/v1/admin/admin-keys',
      caller: 'auditor',
      summary: 'Admin keys by id, revoked ones included.',
      query: pageQuery(limits, hex64),
      reply: pageSchema(adminKeySchema),
      handle: ({ query }) => pageOf(query, (page) => identity.listAdminKeys(page), toRow),
    }),
    route({
      method: 'DELETE',
      path: '/v1/admin/admin-keys/:id',
      caller: 'owner',
      summary: 'Revoke an admin key for good; its grants are refused at once. The first digits of an id are enough.',
      reply: adminKeySchema,
      handle: async ({ params, by }) => toRow(await identity.revokeAdminKey(params.id ?? '', by)),
    }),
  ]
}
