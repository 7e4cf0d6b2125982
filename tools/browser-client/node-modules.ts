/**
 * As much of `node:crypto`, `node:buffer` and `node:string_decoder` as `lichen/client` uses, for browsers; curves and hashes by @noble. WebCrypto
 * has neither synchronous calls nor, everywhere, Ed25519.
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256, sha512 } from '@noble/hashes/sha2.js'
import { Buffer } from './buffer.ts'

interface Hash {
  update(bytes: Uint8Array): unknown
  digest(): Uint8Array
}

/** `update` and `digest` as Node has them. */
function like(hash: Hash) {
  const self = {
    update(data: string | Uint8Array) {
      hash.update(typeof data === 'string' ? Buffer.from(data) : data)
      return self
    },
    digest: () => Buffer.from(hash.digest()),
  }
  return self
}

function onlySha256(algorithm: string): void {
  if (algorithm !== 'sha256') throw new TypeError(`unknown hash ${algorithm}`)
}

export function createHash(algorithm: string) {
  onlySha256(algorithm)
  return like(sha256.create())
}

export function hash(algorithm: string, bytes: Uint8Array, _encoding: 'binary'): string {
  onlySha256(algorithm)
  return Buffer.from(sha256(bytes)).toString('latin1')
}

export const createSecretKey = (bytes: Uint8Array): Uint8Array => bytes

export function createHmac(algorithm: string, key: Uint8Array) {
  onlySha256(algorithm)
  return like(hmac.create(sha256, key))
}

/** An Ed25519 key; `seed` only where it is a private one. */
interface Key {
  readonly publicKey: Uint8Array
  readonly seed?: Uint8Array
}

/** Length of the DER in front of the seed (RFC 8410 §7). */
const pkcs8PrefixBytes = 16

export function createPrivateKey({ key }: { key: Uint8Array }): Key {
  const seed = key.subarray(pkcs8PrefixBytes)
  return { seed, publicKey: ed25519.getPublicKey(seed) }
}

export function createPublicKey(from: Key | { readonly key: { readonly x: string } }) {
  const publicKey = 'publicKey' in from ? from.publicKey : Buffer.from(from.key.x, 'base64url')
  return { publicKey, export: () => ({ x: Buffer.from(publicKey).toString('base64url') }) }
}

export const sign = (_algorithm: null, bytes: Uint8Array, { seed }: Key) =>
  Buffer.from(ed25519.sign(bytes, seed as Uint8Array))

/** RFC 8032 §5.1.7 without the cofactor, as OpenSSL does it: the R that belongs to S and the message is the R of the signature, byte for byte. */
export function verify(_algorithm: null, bytes: Uint8Array, { publicKey }: Key, signature: Uint8Array): boolean {
  const r = signature.subarray(0, 32)
  const s = littleEndian(signature.subarray(32))
  const { Point } = ed25519
  const order = Point.Fn.ORDER
  if (s >= order) return false
  try {
    const key = Point.fromBytes(publicKey)
    const k = littleEndian(sha512(Buffer.concat([r, publicKey, bytes]))) % order
    return Buffer.from(Point.BASE.multiplyUnsafe(s).subtract(key.multiplyUnsafe(k)).toBytes()).equals(r)
  } catch {
    return false // the key is no point
  }
}

const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)

/** The browser's dice, in the 65,536 bytes it gives at once. */
export function randomFillSync<T extends Uint8Array>(bytes: T): T {
  for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536))
  return bytes
}

export function diffieHellman(): never {
  throw new TypeError('the client agrees on no keys')
}

export function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

/** Text in pieces; what is unfinished is kept. */
export class StringDecoder {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  write(bytes: Uint8Array): string {
    return this.#decoder.decode(bytes, { stream: true })
  }
  end(): string {
    return this.#decoder.decode()
  }
}
