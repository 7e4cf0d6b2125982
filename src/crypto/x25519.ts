import { createPrivateKey, createPublicKey, type KeyObject, diffieHellman as nodeDiffieHellman } from 'node:crypto'
import type { PublicKeyHandle } from './identity.ts'

/** An X25519 key pair (RFC 7748). */
export interface DhKey {
  /** 32 raw bytes. */
  readonly publicKey: Buffer
  readonly privateKey: KeyObject
}

/** DER of a PKCS#8 X25519 private key up to its 32 bytes (RFC 8410 §7). */
const pkcs8Prefix = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** The key pair of 32 secret bytes. Throws when they are not 32. */
export function dhKeyFromSeed(seed: Buffer): DhKey {
  if (seed.length !== 32) throw new TypeError(`an X25519 private key has 32 bytes, not ${seed.length}`)
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' })
  return {
    privateKey,
    publicKey: Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url'),
  }
}

/** A new key pair from the runtime's dice. */
export function generateDhKey(runtime: { randomBytes(n: number): Buffer }): DhKey {
  return dhKeyFromSeed(runtime.randomBytes(32))
}

/** Parses 32 raw bytes, for those who use a key more than once: parsing costs two thirds of an agreement. Throws on another length. */
export function importDhPublicKey(raw: Buffer): PublicKeyHandle {
  if (raw.length !== 32) throw new TypeError(`an X25519 public key has 32 bytes, not ${raw.length}`)
  const x = raw.toString('base64url')
  return { raw, key: createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' }) }
}

/** The 32-byte shared secret, or `undefined` where it is all zero: the other key is of small order (RFC 7748 §6.1). */
export function diffieHellman(own: DhKey, theirs: PublicKeyHandle): Buffer | undefined {
  try {
    return nodeDiffieHellman({ privateKey: own.privateKey, publicKey: theirs.key })
  } catch {
    return undefined // OpenSSL fails on an all-zero result; the tests try every point of small order
  }
}
