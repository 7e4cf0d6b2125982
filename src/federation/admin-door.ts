import { type PoolId, parseJson, parsePoolId } from '#protocol'
import type { AdminRequestOptions } from './admin-ports.ts'
import { type AdminRequest, adminActions, adminRequestBytes, readAdminRequest, whyNotAtDoor } from './admin-request.ts'
import { goodSignatures, peerAdminKeys } from './admin-signatures.ts'
import { envelopeHeaders } from './envelope.ts'
import { federationLimits } from './limits.ts'
import type { RawRequest } from './read-envelope.ts'
import type { Heard } from './receiver.ts'
import { countPending, findRequest, insertRequest, lastResetAt, lockPeer } from './request-rows.ts'
import { type Answer, answerNo, answerYes, type SignedRoute } from './signed-route.ts'

type Options = Pick<
  AdminRequestOptions,
  'database' | 'runtime' | 'poolId' | 'peers' | 'toggles' | 'quorum' | 'v1Writers' | 'adminKeys' | 'onEvent'
>

const jsonLimits = { bodyBytesMax: federationLimits.adminBodyBytesMax, jsonDepthMax: 8 }
const trustMin = 3

/**
 * Where another pool's request arrives. Nobody reads it before a human does; the first refusal in this order is the answer:
 * 503 off · 400 malformed · 403 `disabled` · 403 not bonded · 401 signature · 429 ten pending · 429 cooldown · 409 duplicate.
 */
export function adminDoor(o: Options): SignedRoute {
  return {
    trustMin,
    beforeBody: (bytes) => (bytes > jsonLimits.bodyBytesMax ? answerNo(400, 'malformed: body_too_large') : undefined),
    before: async (request) => {
      const read = readBody(request.body)
      if (typeof read === 'string') return answerNo(400, read)
      const kind = adminActions[read.action_type]
      if (!o.toggles.allows(kind) || (kind === 'write' && !(await mayWrite(o)))) return disabled(kind)
      const peer = senderOf(request, o.peers)
      return !peer || peer.revoked || peer.trust < trustMin ? answerNo(403, 'not bonded here') : undefined
    },
    reply: (heard) => take(o, heard),
  }
}

function readBody(body: Buffer): AdminRequest | string {
  const json = parseJson(body, jsonLimits)
  return json.ok ? readAdminRequest(json.value) : `malformed: ${json.refusal.code}`
}

/** Of the pool a request says it is from. Nothing of it is believed yet; what is told here anybody may know who has the id. */
function senderOf({ headers }: RawRequest, peers: Options['peers']) {
  const at = headers.flatMap((name, n) => (n % 2 === 0 && name.toLowerCase() === envelopeHeaders.sender ? [n] : []))
  const id = at.length === 1 ? parsePoolId(headers[(at[0] ?? 0) + 1] ?? '') : undefined
  return id && peers.get(id)
}

/** Without enough admin keys nobody here could approve a WRITE. */
async function mayWrite({ adminKeys, database, quorum }: Options): Promise<boolean> {
  return (await adminKeys(database.sql)).size >= quorum
}

const disabled = (toggle: string): Answer => ({ status: 403, body: { error: 'disabled', toggle }, headers: [] })

async function take(o: Options, { envelope, verified }: Heard): Promise<Answer> {
  const request = readAdminRequest(verified.body)
  if (typeof request === 'string') return answerNo(400, request)
  const now = o.runtime.now()
  const unsigned = await whyNotSigned(o, envelope.sender, envelope.version, request, now)
  if (unsigned) return answerNo(401, `signature: ${unsigned}`)
  const answer = await o.database.transaction(async (tx): Promise<Answer> => {
    // one request of a pool at a time, and no change of its trust meanwhile
    const peer = await lockPeer(tx, envelope.sender)
    if (!peer || peer.revoked || peer.trust < trustMin) return answerNo(403, 'not bonded here')
    const facts = {
      pending: await countPending(tx, envelope.sender, now),
      lastResetAt: await lastResetAt(tx, 'in', envelope.sender),
      duplicate: (await findRequest(tx, 'in', request.request_id)) !== undefined,
    }
    const refused = whyNotAtDoor(request.action_type, facts, now)
    if (refused) {
      const { status, error, retryAfterS } = refused
      return answerNo(status, error, retryAfterS === undefined ? [] : ['retry-after', String(retryAfterS)])
    }
    const row = await insertRequest(tx, {
      direction: 'in',
      requestId: request.request_id,
      peerId: envelope.sender,
      action: request.action_type,
      params: request.action_params,
      email: request.from_admin_email ?? null,
      envelope: envelope.version,
      requestSignatures: request.admin_signatures,
      createdAt: now,
      expiresAt: now + federationLimits.requestLifeMs,
    })
    if (!row) return answerNo(409, 'duplicate request_id')
    const expiresAt = new Date(row.expiresAt).toISOString()
    return answerYes({ ok: true, request_id: row.requestId, status: 'pending', expires_at: expiresAt })
  })
  const what = answer.status === 200 ? 'asked' : `refused: ${(answer.body as { error?: string }).error}`
  o.onEvent({ request: request.request_id, peer: envelope.sender, action: request.action_type, what })
  return answer
}

/** A WRITE counts with the signature of an admin of that pool whose key a human registered here. Version 1 cannot carry one that holds for us alone. */
async function whyNotSigned(
  o: Options,
  sender: PoolId,
  version: 1 | 2,
  request: AdminRequest,
  now: number,
): Promise<string | undefined> {
  if (adminActions[request.action_type] !== 'write') return undefined
  if (version === 1) return o.v1Writers.includes(sender) ? undefined : 'v1_write_not_allowed'
  const facts = {
    origin: sender,
    target: o.poolId,
    requestId: request.request_id,
    action: request.action_type,
    params: request.action_params,
  }
  const keys = await peerAdminKeys(o.database.sql, sender)
  const good = goodSignatures(request.admin_signatures, keys, (at) => adminRequestBytes(facts, at), now)
  return good.length > 0 ? undefined : 'admin_signature_required'
}
