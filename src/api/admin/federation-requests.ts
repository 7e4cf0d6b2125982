import { z } from 'zod'
import {
  type AdminAction,
  type AdminRequests,
  adminActions,
  adminSignatureSchema,
  overrides,
  type PeerAdminKey,
  type PeerAdminKeys,
  type RequestRow,
} from '#federation'
import { ownerNameSchema } from '#identity'
import type { ApiDeps } from '../deps.ts'
import type { ApiLimits } from '../limits.ts'
import { type Route, route } from '../route.ts'
import { pageOf, pageQuery, pageSchema, timeOrNull, timeSchema, timeText } from './page.ts'
import { keyText, publicKeySchema } from './public-key.ts'

/** The two boxes of requests between pools, and whose signatures count in them. */
export interface RequestsAdmin {
  readonly requests: Pick<AdminRequests, 'decide' | 'ask' | 'list' | 'show'>
  readonly peerKeys: Pick<PeerAdminKeys, 'add' | 'list' | 'revoke'>
}

const actionSchema = z.enum(Object.keys(adminActions) as [AdminAction, ...AdminAction[]])
const requestId = z.string().regex(/^fadm_[0-9a-f]{16}$/, 'fadm_ and 16 lowercase hex digits')
const anyObject = z.record(z.string(), z.unknown())

const requestSchema = z.strictObject({
  object: z.literal('admin_request'),
  id: z.string(),
  /** `in`: another pool asks; `out`: this one has asked. */
  direction: z.enum(['in', 'out']),
  /** The other pool. */
  peer: z.string(),
  action_type: actionSchema,
  kind: z.enum(['read', 'write']),
  action_params: anyObject,
  /** As the other pool wrote it: shown, never believed. */
  from_admin_email: z.string().nullable(),
  /** Version of the envelope it came in. */
  envelope: z.int().nullable(),
  state: z.enum(['pending', 'rejected', 'expired', 'approved', 'executed', 'failed', 'executed_no_callback']),
  created_at: timeSchema,
  expires_at: timeSchema,
  decided_at: timeSchema.nullable(),
  decided_by: z.string().nullable(),
  ended_at: timeSchema.nullable(),
  /** Admin keys that signed the request, and the approval so far. */
  signed_by: z.array(z.string()),
  approved_by: z.array(z.string()),
  result: anyObject.nullable(),
  error: z.string().nullable(),
  /** What the guards saw when an approval overrode them. */
  guard: anyObject.nullable(),
  callback: z.strictObject({ tries: z.int(), due_at: timeSchema.nullable(), landed_at: timeSchema.nullable() }),
})

export function requestJson(row: RequestRow): z.infer<typeof requestSchema> {
  return {
    object: 'admin_request',
    id: row.requestId,
    direction: row.direction,
    peer: row.peerId,
    action_type: row.action,
    kind: adminActions[row.action],
    action_params: { ...row.params },
    from_admin_email: row.email,
    envelope: row.envelope,
    state: row.state,
    created_at: timeText(row.createdAt),
    expires_at: timeText(row.expiresAt),
    decided_at: timeOrNull(row.decidedAt),
    decided_by: row.decidedBy,
    ended_at: timeOrNull(row.endedAt),
    signed_by: row.requestSignatures.map(({ key_id }) => key_id),
    approved_by: row.decisionSignatures.map(({ key_id }) => key_id),
    result: row.result as Record<string, unknown> | null,
    error: row.error,
    guard: row.guard as Record<string, unknown> | null,
    callback: {
      tries: row.callbackTries,
      due_at: timeOrNull(row.callbackDueAt),
      landed_at: timeOrNull(row.calledBackAt),
    },
  }
}

const decidedSchema = requestSchema.extend({
  /** More admins must sign before the approval counts; null: decided. */
  waiting: z.strictObject({ have: z.int(), need: z.int() }).nullable(),
})

export const decisionSchema = z.strictObject({
  decision: z.enum(['approve', 'reject']),
  /** Guards that are overridden, by name; that is on record for ever. */
  override: z.array(z.enum(overrides)).max(overrides.length).default([]),
  /** Admins' signatures; a WRITE needs them. */
  signatures: z.array(adminSignatureSchema).max(8).default([]),
})

const wishSchema = z.strictObject({
  /** Id of the pool, or its first six digits. */
  peer: z.string().regex(/^[0-9a-f]{6,64}$/, 'the id of a pool, or its first 6 hex digits or more'),
  action_type: actionSchema,
  action_params: anyObject.default({}),
  from_admin_email: z.string().max(200).nullish(),
  /** Known beforehand where it is signed; otherwise one is made. */
  id: requestId.nullish(),
  signatures: z.array(adminSignatureSchema).max(8).default([]),
})

const peerKeySchema = z.strictObject({
  object: z.literal('peer_admin_key'),
  /** Hex sha256 of the key. */
  id: z.string(),
  peer: z.string(),
  name: z.string(),
  public_key: z.string(),
  added_at: timeSchema,
  added_by: z.string(),
  revoked_at: timeSchema.nullable(),
})

const peerKeyJson = (key: PeerAdminKey): z.infer<typeof peerKeySchema> => ({
  object: 'peer_admin_key',
  id: key.id,
  peer: key.peerId,
  name: key.name,
  public_key: keyText(key.publicKey),
  added_at: timeText(key.addedAt),
  added_by: key.addedBy,
  revoked_at: timeOrNull(key.revokedAt),
})

const base = '/v1/admin/federation'

/** What other pools ask of the humans here, what these ask of others, and who signs for whom. */
export function federationRequestRoutes({ requestsAdmin }: Pick<ApiDeps, 'requestsAdmin'>, limits: ApiLimits): Route[] {
  const requests = () => requestsAdmin.requests
  const peerKeys = () => requestsAdmin.peerKeys
  const box = (name: 'inbox' | 'outbox', direction: 'in' | 'out', summary: string) =>
    route({
      method: 'GET',
      path: `${base}/${name}`,
      caller: 'auditor',
      summary,
      query: pageQuery(limits, requestId).extend({ pending: z.stringbool().default(false) }),
      reply: pageSchema(requestSchema),
      handle: ({ query: { pending, ...query } }) =>
        pageOf(query, (page) => requests().list(direction, { ...page, pending }), requestJson),
    })
  return [
    box('inbox', 'in', 'What other pools ask of the humans here, newest first.'),
    box('outbox', 'out', 'What was asked of other pools, newest first.'),
    route({
      method: 'GET',
      path: `${base}/requests/:id`,
      caller: 'auditor',
      summary: 'One request, of either box.',
      reply: requestSchema,
      handle: async ({ params }) => requestJson(await requests().show(params.id ?? '')),
    }),
    route({
      method: 'POST',
      path: `${base}/requests`,
      caller: 'admin',
      summary: 'Ask another pool’s human. A WRITE carries the signature of an admin of this pool.',
      body: wishSchema,
      reply: requestSchema,
      status: 201,
      handle: async ({ body, actor }) => {
        const { peer, action_type: action, action_params: params, from_admin_email: email, id, signatures } = body
        const wish = { peer, action, params, email: email ?? null, requestId: id ?? undefined, signatures, by: actor }
        return requestJson(await requests().ask(wish))
      },
    }),
    route({
      method: 'POST',
      path: `${base}/requests/:id/decide`,
      caller: 'admin',
      summary: 'Approve or reject what another pool asks. A WRITE needs the signature of an admin of this pool.',
      body: decisionSchema,
      reply: decidedSchema,
      handle: async ({ params, body: { decision, override, signatures }, actor }) => {
        const human = { approve: decision === 'approve', override, signatures, by: actor }
        const { row, waiting } = await requests().decide(params.id ?? '', human)
        return { ...requestJson(row), waiting: waiting ?? null }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/peers/:id/admin-keys`,
      caller: 'owner',
      summary:
        'Register the key of an admin of another pool; bonds with it, and its WRITEs, count with a signature by one of these only.',
      body: z.strictObject({ name: ownerNameSchema, public_key: publicKeySchema }),
      reply: peerKeySchema,
      status: 201,
      handle: async ({ params, body: { name, public_key: publicKey }, actor }) =>
        peerKeyJson(await peerKeys().add(params.id ?? '', { name, publicKey }, actor)),
    }),
    route({
      method: 'GET',
      path: `${base}/peers/:id/admin-keys`,
      caller: 'auditor',
      summary: 'Admin keys of another pool that were registered here, revoked ones included.',
      reply: pageSchema(peerKeySchema),
      handle: async ({ params }) => ({
        object: 'list',
        data: (await peerKeys().list(params.id ?? '')).map(peerKeyJson),
        has_more: false,
      }),
    }),
    route({
      method: 'DELETE',
      path: `${base}/peers/:id/admin-keys/:key`,
      caller: 'owner',
      summary: 'Revoke an admin key of another pool for good.',
      reply: peerKeySchema,
      handle: async ({ params, actor }) =>
        peerKeyJson(await peerKeys().revoke(params.id ?? '', params.key ?? '', actor)),
    }),
  ]
}
