import { sha256 } from '#crypto'
import { ledgerLimits } from '#ledger'
import { decodeSigned, PoolError, SignatureChecker, type Signed } from '#protocol'

/** A grant or a transfer, and the bytes it came in: those are kept. */
export interface SignedWire<T extends 'grant/1' | 'transfer/1'> {
  readonly signed: Signed<T>
  readonly wire: Buffer
}

const nameOf = { 'grant/1': 'grant', 'transfer/1': 'transfer' } as const

const nilId = '00000000-0000-0000-0000-000000000000'

/**
 * Reads a signed message that moves money, strictly: one spelling, one reading, for this pool. Its signature is not
 * verified here. @throws PoolError invalid_request, order_wrong_pool.
 */
export function readSigned<T extends 'grant/1' | 'transfer/1'>(text: string, type: T, poolKey: Buffer): SignedWire<T> {
  const name = nameOf[type]
  const wire = Buffer.from(text, 'base64url')
  if (wire.toString('base64url') !== text) throw unreadable(name, 'it is not base64url without padding')
  if (wire.length > ledgerLimits.authorisationBytesMax) {
    throw unreadable(name, `it is longer than ${ledgerLimits.authorisationBytesMax} bytes`)
  }
  const decoded = decodeSigned(wire, type)
  if (!decoded.ok) throw unreadable(name, decoded.problem)
  const { amount, pool, id } = decoded.signed.message
  if (id === nilId) throw unreadable(name, 'its id is the nil UUID, which names nothing')
  if (amount <= 0n || amount > ledgerLimits.amountMax) {
    throw unreadable(name, `its amount is not between 1 and ${ledgerLimits.amountMax} micro-credits`)
  }
  if (pool.equals(sha256(poolKey))) return { signed: decoded.signed, wire }
  const message = `The ${name} names pool ${pool.toString('hex')}, which is another one.`
  throw new PoolError('order_wrong_pool', message, `Sign one for this pool: ${sha256(poolKey).toString('hex')}.`)
}

function unreadable(name: string, problem: string): PoolError {
  const fix = `Send the wire form of a signed ${name} (spec/receipts.md), as \`lichen\` does.`
  return new PoolError('invalid_request', `The ${name} cannot be read: ${problem}.`, fix, { param: name })
}

/** Whether this key signed it. @throws PoolError signature_refused. */
export function assertSignedBy(key: Buffer, { hash, signature }: Signed<'grant/1' | 'transfer/1'>): void {
  // One each: money moves rarely, and nothing is remembered of it.
  if (signature.key.equals(key) && new SignatureChecker().verify(signature, hash)) return
  const message = 'The signature does not cover what was sent, or was made with another key.'
  throw new PoolError('signature_refused', message, 'Sign it again, and send the bytes as they are.')
}
