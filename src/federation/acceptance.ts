import { type Identity, sha256, verifySignature } from '#crypto'
import type { PoolId } from '#protocol'
import { type AdminSignature, isSignedNow } from './admin-request.ts'
import { acceptanceBytes } from './envelope.ts'
import { federationLimits } from './limits.ts'

/** The word of one pool's admin that another may be bonded (3) or settle (4) with it. */
export interface Acceptance {
  readonly giver: PoolId
  readonly receiver: PoolId
  readonly level: BondLevel
}
export type BondLevel = 3 | 4

export interface SignedAcceptance extends Acceptance, AdminSignature {}

/** As an admin signs it on their own machine. `now`: milliseconds since 1970. */
export function signAcceptance(
  admin: Pick<Identity, 'id' | 'sign'>,
  acceptance: Acceptance,
  now: number,
): SignedAcceptance {
  const signed_at = Math.floor(now / 1_000)
  const signature = admin.sign(acceptanceBytes({ ...acceptance, at: signed_at })).toString('base64')
  return { ...acceptance, key_id: admin.id, signed_at, signature }
}

/**
 * Why an acceptance counts for nothing here: no admin key of the giver's that was registered has signed it, its signature is of something
 * else, or it is of a time that has not come.
 */
export type AcceptanceFault = 'unknown_admin' | 'signature' | 'from_the_future'

/**
 * `keys`: the giver's admin keys by id, as humans here know them. The pool's own key is none of them, whoever put it on the list: who has
 * stolen it must not be able to bond. Undefined: it holds. An old one holds, too: it is offered until the other side has said the same.
 */
export function whyNotAccepted(
  { giver, receiver, level, key_id, signed_at, signature }: SignedAcceptance,
  keys: ReadonlyMap<string, Buffer>,
  now: number,
): AcceptanceFault | undefined {
  const key = key_id === giver ? undefined : keys.get(key_id)
  if (!key || sha256(key).toString('hex') !== key_id) return 'unknown_admin'
  const bytes = acceptanceBytes({ giver, receiver, level, at: signed_at })
  if (!verifySignature(key, bytes, Buffer.from(signature, 'base64'))) return 'signature'
  return signed_at * 1_000 - now > federationLimits.adminSignatureAgeMs ? 'from_the_future' : undefined
}

/** What an admin here signs now, of this pool: only a fresh one is taken from a human. */
export function isGivenNow(signed: SignedAcceptance, keys: ReadonlyMap<string, Buffer>, now: number): boolean {
  return isSignedNow(signed, now) && whyNotAccepted(signed, keys, now) === undefined
}
