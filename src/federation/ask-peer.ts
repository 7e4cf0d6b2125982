import { z } from 'zod'
import { insertAct } from '#log'
import { PoolError, type PoolId } from '#protocol'
import type { AdminRequestOptions } from './admin-ports.ts'
import {
  type AdminAction,
  type AdminSignature,
  adminActions,
  adminRequestBytes,
  adminRequestPath,
  readParams,
} from './admin-request.ts'
import { goodSignatures } from './admin-signatures.ts'
import { federationLimits } from './limits.ts'
import type { Heard } from './receiver.ts'
import { findPeer, findRequest, insertRequest, moveRequest, type RequestRow } from './request-rows.ts'
import { type Answer, answerNo, answerYes, type SignedRoute } from './signed-route.ts'

export interface Wish {
  /** Id of the pool, or its first digits. */
  readonly peer: string
  readonly action: AdminAction
  readonly params: Readonly<Record<string, unknown>>
  readonly email: string | null
  /** `fadm_` and 16 hex digits; who signs must know it before. */
  readonly requestId: string | undefined
  readonly signatures: readonly AdminSignature[]
  readonly by: string
}

type Options = Omit<AdminRequestOptions, 'toggles' | 'events' | 'pendingSlashes' | 'reset'>

/** Asks another pool's human. Written down before it is sent: an answer may come at once. */
export async function askPeer(o: Options, wish: Wish, signal: AbortSignal): Promise<RequestRow> {
  const peerId = await findPeer(o.database.sql, wish.peer)
  if (!peerId) throw new PoolError('not_found', `There is no pool ${wish.peer} here.`, 'See `lichen fed ls`.')
  const params = readParams(wish.action, wish.params)
  if (typeof params === 'string') throw new PoolError('invalid_request', params, 'See docs/reference/federation.md.')
  const now = o.runtime.now()
  const requestId = wish.requestId ?? `fadm_${o.runtime.randomBytes(8).toString('hex')}`
  const signatures = await signaturesOf(o, wish, { peerId, requestId, params, now })
  const row = await o.database.transaction(async (tx) => {
    const made = await insertRequest(tx, {
      direction: 'out',
      requestId,
      peerId,
      action: wish.action,
      params,
      email: wish.email,
      envelope: null,
      requestSignatures: signatures,
      createdAt: now,
      expiresAt: now + federationLimits.requestLifeMs,
    })
    if (!made)
      throw new PoolError(
        'conflict',
        `There is a request ${requestId} already.`,
        'Leave the id out: a new one is made.',
      )
    const details = { peer: peerId, action: wish.action, admins: signatures.map(({ key_id }) => key_id) }
    await insertAct(tx, { actor: wish.by, action: 'federation.ask', subject: `request:${requestId}`, details })
    return made
  })
  return send(o, row, signal)
}

async function signaturesOf(
  o: Options,
  { action, signatures }: Wish,
  { peerId, requestId, params, now }: { peerId: PoolId; requestId: string; params: object; now: number },
): Promise<readonly AdminSignature[]> {
  if (adminActions[action] !== 'write') return []
  const facts = { origin: o.poolId, target: peerId, requestId, action, params }
  const keys = await o.adminKeys(o.database.sql)
  const good = goodSignatures(signatures, keys, (at) => adminRequestBytes(facts, at), now)
  if (good.length > 0) return good
  const fix = 'Ask with `lichen fed request` where an admin key lies; `lichen admin-key new NAME` makes one.'
  throw new PoolError(
    'admin_signature_required',
    'A WRITE is asked for with the signature of an admin of this pool.',
    fix,
  )
}

/** What it says no to has failed; what may have arrived stays pending. */
async function send(o: Options, row: RequestRow, signal: AbortSignal): Promise<RequestRow> {
  const { requestId, peerId, action, params, email, requestSignatures } = row
  const body = {
    request_id: requestId,
    origin_pool_id: o.poolId,
    action_type: action,
    action_params: params,
    ...(email === null ? {} : { from_admin_email: email }),
    ...(requestSignatures.length === 0 ? {} : { admin_signatures: requestSignatures }),
  }
  const called = await o.send(peerId, adminRequestPath, body, signal)
  o.onEvent({ request: requestId, peer: peerId, action, what: called.ok ? 'sent' : `not sent: ${called.code}` })
  if (called.ok || mayHaveArrived(called.code)) return row
  const error = called.status === undefined ? called.message : `${called.status}: ${called.message}`
  const failed = await moveRequest(o.database.sql, row, 'pending', 'failed', { at: o.runtime.now(), error })
  return failed ?? (await findRequest(o.database.sql, 'out', requestId)) ?? row
}

const mayHaveArrived = (code: string) =>
  ['timeout', 'out_of_time', 'answer_forged', 'answer_malformed', 'answer_too_large'].includes(code)

const { eventsMax } = federationLimits
const flat = z.union([z.string().max(200), z.number(), z.boolean()])
const fewMembers = (value: object) => Object.keys(value).length <= 16
const callbackSchema = z.object({
  request_id: z.string().regex(/^fadm_[0-9a-f]{16}$/, 'fadm_ and 16 lowercase hex digits'),
  status: z.enum(['executed', 'rejected', 'failed']),
  error: z.string().max(500).nullish(),
  result: z
    .object({
      events: z
        .array(
          z.object({
            type: z.string().max(40),
            subject: z.string().max(200),
            at: z.int().min(0),
            details: z.record(z.string().max(40), flat).refine(fewMembers),
          }),
        )
        .max(eventsMax)
        .optional(),
      cleared: z.record(z.string().max(40), z.int().min(0)).refine(fewMembers).optional(),
    })
    .nullish(),
})

/** Where the asked pool says what became of a request. Only the one that was asked, only once: the same again changes nothing, another is 409. */
export function callbackDoor(o: Pick<AdminRequestOptions, 'database' | 'runtime' | 'onEvent'>): SignedRoute {
  return { trustMin: 3, reply: (heard) => hearCallback(o, heard) }
}

async function hearCallback(
  o: Pick<AdminRequestOptions, 'database' | 'runtime' | 'onEvent'>,
  { envelope, verified }: Heard,
): Promise<Answer> {
  const read = callbackSchema.safeParse(verified.body)
  if (!read.success) return answerNo(400, `malformed: ${read.error.issues[0]?.path.join('.')}`)
  const { request_id: requestId, status, error, result } = read.data
  const { sql } = o.database
  const row = await findRequest(sql, 'out', requestId)
  // a request to somebody else is told of no more than one that never was
  if (!row || row.peerId !== envelope.sender) return answerNo(404, 'no such request')
  const moved =
    row.state === 'pending'
      ? await moveRequest(sql, row, 'pending', status, {
          at: o.runtime.now(),
          ...(error ? { error } : {}),
          ...(result ? { result } : {}),
        })
      : undefined
  const now = moved ?? (await findRequest(sql, 'out', requestId))
  if (now?.state !== status) return answerNo(409, `the request is ${now?.state} and stays so`)
  if (moved) o.onEvent({ request: requestId, peer: envelope.sender, action: row.action, what: status })
  return answerYes({ ok: true, request_id: requestId, status })
}
