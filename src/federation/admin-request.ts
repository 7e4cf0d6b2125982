import { z } from 'zod'
import { canonicalize, sha256 } from '#crypto'
import { hex64 } from '#protocol'
import { fields } from './envelope.ts'
import { federationLimits } from './limits.ts'

/** What a bonded pool may ask of another one's human, and which toggle lets it in. */
export const adminActions = { query_events: 'read', circuit_reset: 'write' } as const
export type AdminAction = keyof typeof adminActions

export const adminRequestPath = '/v1/federation/admin/request'
export const adminCallbackPath = '/v1/federation/admin/callback'

/**
 * The life of a request, there and here:
 *
 *   in    pending ──▶ rejected
 *            │  └───▶ expired (24 h)
 *            └──▶ approved ──▶ executed                          once the callback has landed
 *                    ├──▶ executed_no_callback ──▶ executed      it did not land at once; tried until it does
 *                    └──▶ failed
 *   out   pending ──▶ executed · rejected · failed · expired     what the other side called back
 *
 * The same table is a trigger of `admin_requests`.
 */
export type RequestState =
  | 'pending'
  | 'rejected'
  | 'expired'
  | 'approved'
  | 'executed'
  | 'failed'
  | 'executed_no_callback'

export const requestMoves: Readonly<
  Record<'in' | 'out', Readonly<Partial<Record<RequestState, readonly RequestState[]>>>>
> = {
  in: {
    pending: ['approved', 'rejected', 'expired'],
    approved: ['executed', 'executed_no_callback', 'failed'],
    executed_no_callback: ['executed'],
  },
  out: { pending: ['executed', 'rejected', 'failed', 'expired'] },
}

/** Kinds of events that another pool may see. */
export const sharedEventTypes = [
  'circuit_opened',
  'circuit_closed',
  'worker_joined',
  'worker_left',
  'peer_handshake',
  'overview',
  'peer_status',
] as const

const { eventsMax, nameCharsMax, adminSignaturesMax } = federationLimits

/** Members beyond these are passed over: other versions may say more. */
const paramsOf = {
  query_events: z.object({
    limit: z.int().min(1).max(eventsMax).optional(),
    types: z.array(z.enum(sharedEventTypes)).min(1).max(sharedEventTypes.length).optional(),
    /** Unix seconds. */
    since: z.int().min(0).max(99_999_999_999).optional(),
  }),
  circuit_reset: z.object({}),
} as const

/** An admin's signature as a request or a decision carries it; whose key it is, the pool that reads it knows from its own list. */
export const adminSignatureSchema = z.object({
  /** Hex sha256 of the admin's public key. */
  key_id: hex64,
  /** Unix seconds. */
  signed_at: z.int().min(0).max(99_999_999_999),
  /** Ed25519, base64. */
  signature: z.base64().length(88),
})
export type AdminSignature = z.infer<typeof adminSignatureSchema>

const requestSchema = z.object({
  request_id: z.string().regex(/^fadm_[0-9a-f]{16}$/, 'fadm_ and 16 lowercase hex digits'),
  origin_pool_id: hex64,
  action_type: z.enum(Object.keys(adminActions) as [AdminAction, ...AdminAction[]]),
  action_params: z.record(z.string().max(nameCharsMax), z.unknown()).default({}),
  from_admin_email: z.string().max(nameCharsMax).nullish(),
  admin_signatures: z.array(adminSignatureSchema).max(adminSignaturesMax).default([]),
})
export type AdminRequest = z.infer<typeof requestSchema>

/** Reads a request of another pool; the sentence why not where it is none. */
export function readAdminRequest(json: unknown): AdminRequest | string {
  const parsed = requestSchema.safeParse(json)
  if (!parsed.success) return wrongPart(parsed.error)
  const params = readParams(parsed.data.action_type, parsed.data.action_params)
  return typeof params === 'string' ? params : { ...parsed.data, action_params: params }
}

/** The members of an action's parameters that count; the sentence why not where they do not fit. */
export function readParams(action: AdminAction, params: object): Record<string, unknown> | string {
  const parsed = paramsOf[action].safeParse(params)
  return parsed.success ? parsed.data : wrongPart(parsed.error, 'action_params')
}

const wrongPart = ({ issues: [issue] }: z.ZodError, ...before: string[]) =>
  `malformed: ${[...before, ...(issue?.path ?? [])].join('.') || 'no object'}`

/** What a request is, for those who sign it. */
export interface AdminRequestFacts {
  /** Who asks. */
  readonly origin: string
  /** Who is asked. */
  readonly target: string
  readonly requestId: string
  readonly action: AdminAction
  readonly params: object
}

const signedParams = (params: object) => sha256(canonicalize(params)).toString('hex')

/** What an admin of the asking pool signs (spec/federation.md). It names both pools: it holds nowhere else. */
export function adminRequestBytes(
  { origin, target, requestId, action, params }: AdminRequestFacts,
  signedAt: number,
): Buffer {
  return fields('lichen-admin-request/1', origin, target, requestId, action, signedParams(params), String(signedAt))
}

/** Guards that an approval may override, each by its name. */
export const overrides = ['slashing', 'reciprocal'] as const
export type Override = (typeof overrides)[number]

export interface Decision {
  readonly approve: boolean
  readonly override: readonly Override[]
}

/** What an admin of the asked pool signs when it decides about a WRITE. */
export function adminDecisionBytes(
  facts: AdminRequestFacts,
  { approve, override }: Decision,
  signedAt: number,
): Buffer {
  return fields(
    'lichen-admin-decision/1',
    facts.target,
    facts.origin,
    facts.requestId,
    facts.action,
    signedParams(facts.params),
    approve ? 'approve' : 'reject',
    overrides.filter((name) => override.includes(name)).join(','),
    String(signedAt),
  )
}

/** Whether an admin's signature is of now: within {@link federationLimits.adminSignatureAgeMs}. */
export const isSignedNow = ({ signed_at }: Pick<AdminSignature, 'signed_at'>, now: number) =>
  Math.abs(signed_at * 1_000 - now) <= federationLimits.adminSignatureAgeMs

/** What this pool knows about the asker when a request stands at the door. */
export interface DoorFacts {
  readonly pending: number
  /** When the last reset for this pool was approved; undefined: never. */
  readonly lastResetAt: number | undefined
  readonly duplicate: boolean
}

/** Milliseconds until the next reset for this pool may come; 0: now. */
export function cooldownLeft(lastResetAt: number | undefined, now: number): number {
  return lastResetAt === undefined ? 0 : Math.max(0, lastResetAt + federationLimits.resetCooldownMs - now)
}

/** The last refusals in their order, once the signature has held; undefined: a human decides. */
export function whyNotAtDoor(
  action: AdminAction,
  facts: DoorFacts,
  now: number,
): { readonly status: 429 | 409; readonly error: string; readonly retryAfterS?: number } | undefined {
  if (facts.pending >= federationLimits.pendingRequestsMax)
    return { status: 429, error: `${facts.pending} requests of this pool are pending`, retryAfterS: 3_600 }
  const leftMs = action === 'circuit_reset' ? cooldownLeft(facts.lastResetAt, now) : 0
  if (leftMs > 0) return { status: 429, error: 'cooldown', retryAfterS: Math.ceil(leftMs / 1_000) }
  return facts.duplicate ? { status: 409, error: 'duplicate request_id' } : undefined
}
