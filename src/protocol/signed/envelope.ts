import { z } from 'zod'
import { protocolLimits } from '../limits.ts'
import { decodeStrict } from './dag-cbor.ts'
import { digestOf, type SignedType } from './digest.ts'
import { bytes32, bytes64, count, wireBytes } from './fields.ts'
import { readHot, wireShape } from './hot-messages.ts'
import { encodeMessage, parseMessage, type SignedMessages } from './messages.ts'
import { readShape, writeShape } from './shape.ts'
import type { Signature } from './signature.ts'

/** A message with its signature, as it arrived or was made; `bytes` are kept and forwarded, never encoded anew. */
export interface Signed<T extends SignedType> {
  readonly type: T
  readonly message: SignedMessages[T]
  /** What was signed. */
  readonly bytes: Buffer
  /** {@link digestOf} the bytes. */
  readonly hash: Buffer
  readonly signature: Signature
}

export type DecodedSigned<T extends SignedType> =
  | { readonly ok: true; readonly signed: Signed<T> }
  | { readonly ok: false; readonly problem: string }

/** `[bytes, key, sig, index, size, path]`. */
const wireSchema = z.tuple([
  wireBytes,
  bytes32,
  bytes64,
  count,
  z.int().min(1).max(protocolLimits.batchMessagesMax),
  z.array(bytes32).max(Math.ceil(Math.log2(protocolLimits.batchMessagesMax))),
])

/** Message, hash and signature as one; throws a TypeError on a message that readers would refuse. */
export function toSigned<T extends SignedType>(
  type: T,
  message: SignedMessages[T],
  bytes: Buffer,
  signature: Signature,
): Signed<T> {
  return { type, message, bytes, hash: digestOf(type, bytes), signature }
}

/** A message on its way to {@link BatchSigner} or {@link signBatch}: its bytes, which are signed, and its hash. */
export function unsigned<T extends SignedType>(
  type: T,
  message: SignedMessages[T],
): { type: T; bytes: Buffer; hash: Buffer } {
  const bytes = encodeMessage(type, message)
  return { type, bytes, hash: digestOf(type, bytes) }
}

/** The wire form: dag-cbor `[bytes, key, sig, index, size, [path …]]`. */
export function encodeSigned({ bytes, signature }: Pick<Signed<SignedType>, 'bytes' | 'signature'>): Buffer {
  const { key, sig, index, size, path } = signature
  return writeShape(wireShape, [bytes, key, sig, index, size, path])
}

/** Reads a wire form strictly, inside and out. The signature is not verified here: {@link SignatureChecker}. Never throws. */
export function decodeSigned<T extends SignedType>(wire: Buffer, type: T): DecodedSigned<T> {
  const quick = readQuickly(wire, type)
  return quick ? { ok: true, signed: quick } : readCarefully(wire, type)
}

/** What comes with every request, when nothing about it is unusual. */
function readQuickly<T extends SignedType>(wire: Buffer, type: T): Signed<T> | undefined {
  if (type !== 'assignment/1' && type !== 'worker-statement/1') return undefined
  if (wire.length > protocolLimits.signedBytesMax) return undefined
  const parts = readShape(wireShape, wire)
  if (!parts) return undefined
  const [bytes, key, sig, index, size, path] = parts
  const message = readHot(type, bytes) as SignedMessages[T] | undefined // the type is one of the two
  return message && toSigned(type, message, bytes, { key, sig, index, size, path })
}

/** Says what is wrong. */
function readCarefully<T extends SignedType>(wire: Buffer, type: T): DecodedSigned<T> {
  const outer = decodeStrict(wire)
  if (!outer.ok) return outer
  const parsed = wireSchema.safeParse(outer.value)
  if (!parsed.success) return { ok: false, problem: 'it is not a signed message' }
  const [bytes, key, sig, index, size, path] = parsed.data
  const inner = decodeStrict(bytes)
  if (!inner.ok) return inner
  const message = parseMessage(type, inner.value)
  if (!message.ok) return message
  return { ok: true, signed: toSigned(type, message.message, bytes, { key, sig, index, size, path }) }
}
