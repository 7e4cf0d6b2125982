import { createPrivateKey, createPublicKey, type KeyObject, diffieHellman as nodeDiffieHellman } from 'node:crypto'

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

/** The 32-byte shared secret, or `undefined` where it is all zero: the other key is of small order (RFC 7748 §6.1). */
export function diffieHellman(own: DhKey, theirs: Buffer): Buffer | undefined {
  if (theirs.length !== 32) return undefined
  const publicKey = createPublicKey({
    key: { kty: 'OKP', crv: 'X25519', x: theirs.toString('base64url') },
    format: 'jwk',
  })
  try {
    return nodeDiffieHellman({ privateKey: own.privateKey, publicKey })
  } catch {
    return undefined // OpenSSL fails on an all-zero result; the tests try every point of small order
  }
}
