import { type Identity, verifySignature } from '#crypto'
import { transportLimits } from './limits.ts'

/** Which side of a session signs. */
export type Role = 'pool' | 'worker'

const domain = 'lichen/session/1'
const keyBytes = 32
const signedBytes = keyBytes + 64

/** What a handshake payload proves (spec/worker.md §1). */
export interface SessionPayload {
  readonly publicKey: Buffer
  /** Only a worker's payload carries one. */
  readonly token?: Buffer
}

/** What an identity signs: it binds the identity to one handshake and one side of it. */
export function signedSessionBytes(role: Role, handshakeHash: Buffer): Buffer {
  return Buffer.concat([Buffer.from(domain + role), handshakeHash])
}

/** Payload 2: identity key ‖ signature. */
export function writePoolPayload(pool: Identity, handshakeHash: Buffer): Buffer {
  return Buffer.concat([pool.publicKey, pool.sign(signedSessionBytes('pool', handshakeHash))])
}

/** Payload 3: identity key ‖ signature ‖ u8 length ‖ token. */
export function writeWorkerPayload(worker: Identity, handshakeHash: Buffer, token: Buffer = Buffer.alloc(0)): Buffer {
  if (token.length > transportLimits.tokenBytesMax) throw new RangeError('the token is longer than a payload can carry')
  const signature = worker.sign(signedSessionBytes('worker', handshakeHash))
  return Buffer.concat([worker.publicKey, signature, Buffer.of(token.length), token])
}

/** Parses a payload and checks its signature; `undefined` when either is wrong. Whether the key is acceptable is asked apart. */
export function readSessionPayload(role: Role, payload: Buffer, handshakeHash: Buffer): SessionPayload | undefined {
  const token = role === 'worker' ? readToken(payload) : payload.length === signedBytes ? Buffer.alloc(0) : undefined
  if (!token) return undefined
  const publicKey = Buffer.from(payload.subarray(0, keyBytes))
  const signature = payload.subarray(keyBytes, signedBytes)
  if (!verifySignature(publicKey, signedSessionBytes(role, handshakeHash), signature)) return undefined
  return token.length > 0 ? { publicKey, token } : { publicKey }
}

function readToken(payload: Buffer): Buffer | undefined {
  const length = payload[signedBytes]
  if (length === undefined || length > transportLimits.tokenBytesMax) return undefined
  return payload.length === signedBytes + 1 + length ? Buffer.from(payload.subarray(signedBytes + 1)) : undefined
}
