import type { TransferRow } from '#ledger'
import { PoolError } from '#protocol'
import { apiLimits } from '../limits.ts'
import { appliedBefore, applyTransfer, openUserAccount, type Till } from './apply-signed.ts'
import { assertSignedBy, readSigned } from './read-signed.ts'

/**
 * Credits a user with what an admin key signed. The same bytes again are the same grant.
 * @throws PoolError invalid_request, order_wrong_pool, order_expired, signature_refused, not_found, ledger_conflict.
 */
export async function acceptGrant(till: Till, text: string): Promise<TransferRow> {
  const { money, identity, runtime } = till
  const { signed, wire: authorisation } = readSigned(text, 'grant/1', money.poolKey)
  const { id, to, amount, at } = signed.message
  const before = await appliedBefore(money, { id, authorisation })
  if (before) return before
  const { key } = signed.signature
  if (key.equals(money.poolKey)) {
    const message = 'A pool grants nothing by itself, but once to its first owner.'
    throw new PoolError('signature_refused', message, 'Sign with an admin key: `lichen grant`.')
  }
  if (!(await identity.isAdminKey(key))) {
    const message = 'The key that signed this grant is not an admin key of this pool, or was revoked.'
    throw new PoolError('signature_refused', message, 'See `lichen admin-key ls`; an owner adds keys.')
  }
  assertSignedBy(key, signed)
  if (Math.abs(runtime.now() - at) > apiLimits.grantAgeMsMax) {
    const message = `The grant was signed for ${new Date(at).toISOString()}, more than a day from now.`
    throw new PoolError('order_expired', message, 'Sign a new one, and check the clock of the machine that signs.')
  }
  await openUserAccount(till, to)
  return applyTransfer(till, { id, kind: 'grant', from: 'issuance', to, amount, authorisation })
}
