import { decodeSigned } from '#protocol'
import type { TransferKind } from './ledger-op.ts'
import { transferKinds } from './transfer-kinds.ts'

/** Who signed a transfer, and what they wrote. */
export interface Authorised {
  /** Raw public key. */
  readonly key: Buffer
  readonly memo: string
}

/** Read from the signed bytes a direct transfer is kept with; null for a charge, whose order is kept with its job. */
export function authorisedBy(transfer: {
  readonly kind: TransferKind
  readonly authorisation: Buffer | null
}): Authorised | null {
  if (!transfer.authorisation) return null
  const { message: type } = transferKinds[transfer.kind]
  if (type === 'order/1') return null
  const decoded = decodeSigned(transfer.authorisation, type)
  if (!decoded.ok) return null
  const { message, signature } = decoded.signed
  return { key: signature.key, memo: 'because' in message ? message.because : message.memo }
}
