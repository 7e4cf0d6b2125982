import { sha256 } from '#crypto'
import { insertAct } from '#log'
import { PoolError } from '#protocol'
import type { Tx } from '#storage'
import type { AdminRequestOptions, PendingSlash } from './admin-ports.ts'
import {
  type AdminRequestFacts,
  type AdminSignature,
  adminActions,
  adminDecisionBytes,
  cooldownLeft,
  type Decision,
  type Override,
} from './admin-request.ts'
import { goodSignatures } from './admin-signatures.ts'
import { federationLimits } from './limits.ts'
import { findRequest, lastResetAt, lockPeer, moveRequest, type RequestRow } from './request-rows.ts'
import { eventWindow, shareEvents } from './shared-events.ts'
import { toggleIn } from './toggles.ts'

type Options = Omit<AdminRequestOptions, 'send' | 'peers' | 'toggles'>

export interface HumanDecision extends Decision {
  /** Admins' signatures on it; a WRITE needs them. */
  readonly signatures: readonly AdminSignature[]
  readonly by: string
}

/** `waiting`: more admins must sign before an approval counts. */
export interface Decided {
  readonly row: RequestRow
  readonly waiting: { readonly have: number; readonly need: number } | undefined
}

/** An approved request that could not be carried out: nothing of it happened. */
class NotDone extends Error {}

/**
 * What a human decides about a request, once: state, facts, guards, effect and the act for the log are one transaction under the
 * request's lock, so of five who approve at once one does, and what a guard reads holds until the effect is there.
 */
export async function decideRequest(o: Options, requestId: string, decision: HumanDecision): Promise<Decided> {
  try {
    const decided = await o.database.transaction((tx) => decideIn(tx, o, requestId, decision))
    if (decided === 'expired') throw gone('expired')
    return decided
  } catch (error) {
    if (!(error instanceof NotDone)) throw error
    return { row: await fail(o, requestId, decision, error), waiting: undefined }
  }
}

const gone = (state: string) =>
  new PoolError(
    'conflict',
    `This request is ${state}; it was decided, or it is too late.`,
    'See `lichen fed inbox --all`.',
  )

async function decideIn(tx: Tx, o: Options, requestId: string, decision: HumanDecision): Promise<Decided | 'expired'> {
  const row = await findRequest(tx, 'in', requestId, true)
  if (!row) throw new PoolError('not_found', `There is no request ${requestId}.`, 'See `lichen fed inbox`.')
  if (row.state !== 'pending') throw gone(row.state)
  const now = o.runtime.now()
  if (row.expiresAt <= now) {
    await moveRequest(tx, row, 'pending', 'expired', { at: now })
    return 'expired'
  }
  const signed = await signedBy(tx, o, row, decision, now)
  if (decision.approve && signed.have < signed.need) return { row, waiting: signed }
  const guard = decision.approve ? await passGuards(tx, o, row, decision.override, now) : undefined
  const to = decision.approve ? 'approved' : 'rejected'
  const decided = { at: now, by: decision.by, ...(guard ? { guard: { ...guard, at: now, by: decision.by } } : {}) }
  const moved = await moveRequest(
    tx,
    row,
    'pending',
    to,
    decision.approve ? decided : { ...decided, callbackDueAt: now },
  )
  if (!moved) throw gone('no longer pending')
  await insertAct(tx, actOf(row, decision, guard))
  if (!decision.approve) return { row: moved, waiting: undefined }
  const result = await carryOut(tx, o, row, now)
  const [kept] = await tx`
    update admin_requests set result = ${JSON.stringify(result)}::text::jsonb, callback_due_at = ${now}::timestamptz
     where direction = 'in' and request_id = ${requestId} returning request_id`
  if (!kept) throw new Error(`request ${requestId} is gone`)
  return { row: { ...moved, result, callbackDueAt: now }, waiting: undefined }
}

function actOf(
  { requestId, peerId, action }: RequestRow,
  { approve, by, signatures }: HumanDecision,
  guard: Guard | undefined,
) {
  const snapshot = guard && {
    overridden: guard.overridden,
    guard_sha256: sha256(Buffer.from(JSON.stringify(guard))).toString('hex'),
    slashing: guard.slashing.length,
  }
  const details = { peer: peerId, action, admins: signatures.map(({ key_id }) => key_id), ...snapshot }
  return { actor: by, action: `federation.${approve ? 'approve' : 'reject'}`, subject: `request:${requestId}`, details }
}

const factsOf = (o: Options, row: RequestRow): AdminRequestFacts => ({
  origin: row.peerId,
  target: o.poolId,
  requestId: row.requestId,
  action: row.action,
  params: row.params,
})

/** A WRITE is decided by admins: each signature that holds is kept, and enough of them count. A READ needs none. */
async function signedBy(tx: Tx, o: Options, row: RequestRow, decision: HumanDecision, now: number) {
  if (adminActions[row.action] !== 'write') return { have: 0, need: 0 }
  const keys = await o.adminKeys(tx)
  const good = goodSignatures(decision.signatures, keys, (at) => adminDecisionBytes(factsOf(o, row), decision, at), now)
  if (good.length === 0) {
    const fix = 'Decide with `lichen fed decide` where an admin key lies, or load it on the page.'
    throw new PoolError(
      'admin_signature_required',
      'A WRITE is decided with the signature of an admin of this pool.',
      fix,
    )
  }
  if (!decision.approve) return { have: good.length, need: 1 }
  const before = row.decisionSignatures.filter(
    ({ key_id }) => keys.has(key_id) && !good.some((one) => one.key_id === key_id),
  )
  // an earlier signature counts for the same decision only
  const facts = factsOf(o, row)
  const same = before.filter(
    (one) =>
      goodSignatures([one], keys, (at) => adminDecisionBytes(facts, decision, at), one.signed_at * 1_000).length === 1,
  )
  const all = [...same, ...good].slice(-federationLimits.adminSignaturesMax)
  await tx`
    update admin_requests set decision_signatures = ${JSON.stringify(all)}::text::jsonb
     where direction = 'in' and request_id = ${row.requestId}`
  return { have: all.length, need: o.quorum }
}

interface Guard {
  readonly overridden: readonly Override[]
  readonly slashing: readonly PendingSlash[]
  readonly reciprocal: { readonly lastResetThereAt: number } | null
}

/** The facts again, as they are now. What a human overrode comes back as it was seen; undefined: nothing stood in the way. */
async function passGuards(
  tx: Tx,
  o: Options,
  { peerId, action }: RequestRow,
  override: readonly Override[],
  now: number,
): Promise<Guard | undefined> {
  const kind = adminActions[action]
  const peer = await lockPeer(tx, peerId)
  if (!peer || peer.revoked || peer.trust < 3)
    throw new PoolError('conflict', 'That pool is no longer bonded here.', 'Reject the request, or bond again first.')
  if (!(await toggleIn(tx, kind)) || (kind === 'write' && (await o.adminKeys(tx)).size < o.quorum))
    throw new PoolError(
      'toggle_off',
      `The toggle \`${kind}\` is off.`,
      `Turn it on: \`lichen fed toggle ${kind} on\`, or reject.`,
    )
  if (action !== 'circuit_reset') return undefined
  const leftMs = cooldownLeft(await lastResetAt(tx, 'in', peerId), now)
  if (leftMs > 0) {
    const message = 'The last reset for that pool was approved less than six hours ago.'
    throw new PoolError('conflict', message, `Approve in ${Math.ceil(leftMs / 60_000)} minutes, or reject.`)
  }
  const slashing = await o.pendingSlashes(tx)
  const there = await lastResetAt(tx, 'out', peerId)
  const reciprocal =
    there !== undefined && now - there < federationLimits.reciprocalMs ? { lastResetThereAt: there } : null
  if (slashing.length > 0 && !override.includes('slashing')) throw slashingPending(slashing)
  if (reciprocal && !override.includes('reciprocal')) {
    const message = `That pool reset its workers for us at ${new Date(reciprocal.lastResetThereAt).toISOString()}; two that reset each other undo every check.`
    throw new PoolError('reciprocal', message, 'Reject, or override it knowingly: that is on record for ever.')
  }
  const overridden: Override[] = [
    ...(slashing.length > 0 ? ['slashing' as const] : []),
    ...(reciprocal ? ['reciprocal' as const] : []),
  ]
  return overridden.length > 0 ? { overridden, slashing, reciprocal } : undefined
}

function slashingPending(slashing: readonly PendingSlash[]): PoolError {
  const sample = slashing
    .slice(0, 3)
    .map(({ what, worker, model }) => `${what} of ${worker.slice(0, 12)} with ${model}`)
  const more = slashing.length > sample.length ? `, and ${slashing.length - sample.length} more` : ''
  const message = `Slashing events are pending: ${sample.join(', ')}${more}.`
  return new PoolError(
    'slashing_pending',
    message,
    'Let them end first, or override it knowingly: that is on record for ever.',
  )
}

async function carryOut(tx: Tx, o: Options, { action, params, peerId }: RequestRow, now: number): Promise<object> {
  if (action === 'circuit_reset') {
    const cleared = await o.reset(tx).catch((error: unknown) => {
      throw isBreakage(error) ? new NotDone('the reset could not be carried out', { cause: error }) : error
    })
    return { cleared }
  }
  const read = await o.events(eventWindow(params, now, peerId))
  return { events: shareEvents(read, o.poolId, peerId) }
}

/** A database that is away, or a deadlock, is tried again; all else is a request that failed. */
const isBreakage = (error: unknown) => !(error instanceof PoolError) && !/^(?:40|08|57|CONN)/.test(codeOf(error))
const codeOf = (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : '')

async function fail(o: Options, requestId: string, { by }: HumanDecision, error: Error): Promise<RequestRow> {
  o.onProblem(error)
  return o.database.transaction(async (tx) => {
    const at = o.runtime.now()
    const row = { direction: 'in' as const, requestId }
    const approved = await moveRequest(tx, row, 'pending', 'approved', { at, by })
    const failed =
      approved && (await moveRequest(tx, row, 'approved', 'failed', { at, error: error.message, callbackDueAt: at }))
    if (!failed) throw gone('no longer pending')
    const details = { peer: failed.peerId, action: failed.action, failed: true }
    await insertAct(tx, { actor: by, action: 'federation.approve', subject: `request:${requestId}`, details })
    return failed
  })
}
