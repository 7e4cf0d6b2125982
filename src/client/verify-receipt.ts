import { type ReceiptVerdict, verifyReceipt as verify } from '#protocol'

type Bytes = Uint8Array | string

/** What a receipt is compared with; text is its UTF-8 bytes. */
export interface ReceiptExpectation {
  /** The answer as received: the JSON body, or the event stream. */
  readonly response?: Bytes
  /** The pool it must come from, by its 32 raw bytes of public key. */
  readonly poolKey?: Uint8Array
  /** The same by id, lowercase hex. */
  readonly poolId?: string
}

/**
 * Checks a receipt file with nothing but itself, and the response with it when there is one: says what was checked, one line each, and stops
 * at the first thing that does not fit. Pure; never throws.
 */
export function verifyReceipt(receipt: Bytes, expected: ReceiptExpectation = {}): ReceiptVerdict {
  const { response, poolKey, poolId } = expected
  return verify(bufferOf(receipt), {
    ...(response !== undefined && { response: bufferOf(response) }),
    ...(poolKey && { poolKey: bufferOf(poolKey) }),
    ...(poolId !== undefined && { poolId }),
  })
}

function bufferOf(bytes: Bytes): Buffer {
  if (typeof bytes === 'string') return Buffer.from(bytes)
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes)
}
