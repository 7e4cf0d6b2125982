import type { TransferRow } from '#ledger'
import { PoolError } from '#protocol'
import type { Client } from '../deps.ts'
import { appliedBefore, applyTransfer, openStake, openUserAccount, type Till } from './apply-signed.ts'
import { assertSignedBy, readSigned } from './read-signed.ts'

/**
 * Pays another user, or into an operator's stake, what this one signed with its payer key. The same bytes again are the same payment.
 * @throws PoolError invalid_request, order_wrong_pool, order_expired, payer_signature_required, signature_refused,
 *         not_found, insufficient_credit, ledger_conflict.
 */
export async function acceptPayment(
  till: Till,
  payer: Pick<Client, 'account' | 'payerKey'>,
  text: string,
): Promise<TransferRow> {
  const { money, runtime } = till
  const { signed, wire: authorisation } = readSigned(text, 'transfer/1', money.poolKey)
  const { id, from, to, amount, expires } = signed.message
  if (from !== payer.account) {
    const message = 'The transfer is out of another account than that of the key you send.'
    throw new PoolError('signature_refused', message, `Sign one out of ${payer.account}.`)
  }
  const before = await appliedBefore(money, { id, authorisation })
  if (before) return before
  if (payer.payerKey === null) {
    const message = 'No payer key is registered for your user, so nothing shows that you signed.'
    const fix = 'Make one with `lichen proxy --new-key`, and let an admin register it: `lichen users payer-key`.'
    throw new PoolError('payer_signature_required', message, fix)
  }
  assertSignedBy(payer.payerKey, signed)
  if (expires <= runtime.now()) {
    const message = `The transfer was good until ${new Date(expires).toISOString()}.`
    throw new PoolError('order_expired', message, 'Sign a new one, and check the clock of the machine that signs.')
  }
  if (to === from) throw new PoolError('invalid_request', 'An account cannot pay itself.', 'Name another one.')
  await openUserAccount(till, from)
  await (to.startsWith('stake:') ? openStake(till, to) : openUserAccount(till, to))
  return applyTransfer(till, { id, kind: 'payment', from, to, amount, authorisation })
}
