import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { sha256 } from './sha256.ts'

/** Who speaks: an Ed25519 key pair (RFC 8032). */
export interface Identity {
  /** 32 raw bytes. */
  readonly publicKey: Buffer
  /** Lowercase hex sha256 of the public key: a PoolId, a WorkerId. */
  readonly id: string
  /** The 32 secret bytes. */
  readonly seed: Buffer
  /** A 64-byte signature. */
  sign(bytes: Buffer): Buffer
}

/** A public key parsed once, for those who verify many signatures under it. */
export interface PublicKeyHandle {
  readonly raw: Buffer
  readonly key: KeyObject
}

/** DER of a PKCS#8 Ed25519 private key up to the 32 bytes of seed (RFC 8410 §7). */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const signatureBytes = 64

/** The identity of a 32-byte seed. Throws when it is not 32 bytes. */
export function identityFromSeed(seed: Buffer): Identity {
  if (seed.length !== 32) throw new TypeError(`an Ed25519 seed has 32 bytes, not ${seed.length}`)
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' })
  const publicKey = Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x ?? '', 'base64url')
  return {
    publicKey,
    id: sha256(publicKey).toString('hex'),
    seed: Buffer.from(seed),
    sign: (bytes) => sign(null, bytes, key),
  }
}

/** A new identity from the runtime's dice. */
export function generateIdentity(runtime: { randomBytes(n: number): Buffer }): Identity {
  return identityFromSeed(runtime.randomBytes(32))
}

/** Parses 32 raw bytes. It is no acceptance: see {@link acceptPublicKey}. Throws on another length. */
export function importPublicKey(raw: Buffer): PublicKeyHandle {
  if (raw.length !== 32) throw new TypeError(`an Ed25519 public key has 32 bytes, not ${raw.length}`)
  const x = raw.toString('base64url')
  return { raw, key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) }
}

/**
 * Whether `signature` is Ed25519 by `publicKey` over `bytes` (RFC 8032 §5.1.7: cofactorless, S below L). Under a key that
 * {@link acceptPublicKey} would refuse the answer means nothing. False, never an exception, on bytes of a wrong length.
 */
export function verifySignature(publicKey: Buffer | PublicKeyHandle, bytes: Buffer, signature: Buffer): boolean {
  if (signature.length !== signatureBytes) return false
  if (!Buffer.isBuffer(publicKey)) return verify(null, bytes, publicKey.key, signature)
  return publicKey.length === 32 && verify(null, bytes, importPublicKey(publicKey).key, signature)
}
