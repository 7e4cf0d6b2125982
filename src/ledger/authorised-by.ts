import { decodeSigned } from '#protocol'
import type { TransferKind } from './ledger-op.ts'

/** Who signed a transfer, and what they wrote. */
export interface Authorised {
  /** Raw public key. */
  readonly key: Buffer
  readonly memo: string
}

/** Read from the signed bytes a grant or payment is kept with; null for a charge, whose order is kept with its job. */
export function authorisedBy(transfer: {
  readonly kind: TransferKind
  readonly authorisation: Buffer | null
}): Authorised | null {
  if (!transfer.authorisation) return null
  const decoded = decodeSigned(transfer.authorisation, transfer.kind === 'payment' ? 'transfer/1' : 'grant/1')
  return decoded.ok ? { key: decoded.signed.signature.key, memo: decoded.signed.message.memo } : null
}
