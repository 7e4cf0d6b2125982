import { type Identity, type PublicKeyHandle, verifySignature } from '#crypto'
import type { PoolId } from '#protocol'
import { acceptanceBytes } from './envelope.ts'

/** One pool's word that another may be bonded (3) or settle (4) with it. */
export interface Acceptance {
  readonly giver: PoolId
  readonly receiver: PoolId
  readonly level: BondLevel
  /** Unix seconds. */
  readonly at: number
}
export type BondLevel = 3 | 4

export interface SignedAcceptance extends Acceptance {
  readonly signature: Buffer
}

export function signAcceptance(identity: Pick<Identity, 'sign'>, acceptance: Acceptance): SignedAcceptance {
  return { ...acceptance, signature: identity.sign(acceptanceBytes(acceptance)) }
}

export function acceptanceHolds(
  key: PublicKeyHandle | Buffer,
  { signature, ...acceptance }: SignedAcceptance,
): boolean {
  return signature.length === 64 && verifySignature(key, acceptanceBytes(acceptance), signature)
}
