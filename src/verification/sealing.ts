import { createCipheriv, createDecipheriv } from 'node:crypto'
import { sha256 } from '#crypto'
import type { Runtime } from '#runtime'

/** Bytes that sealing adds: a nonce of 12 (NIST SP 800-38D §8.2.2, random) and a tag of 16. */
const nonceBytes = 12
const tagBytes = 16

/** AES-256-GCM under a key of 32 bytes; `label` is authenticated with it, so that a sealed thing cannot stand in for another. */
export function seal(key: Buffer, label: string, plain: Buffer, runtime: Pick<Runtime, 'randomBytes'>): Buffer {
  const nonce = runtime.randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(label))
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** What was sealed; undefined when it was changed, or sealed under another key or label. */
export function unseal(key: Buffer, label: string, sealed: Buffer): Buffer | undefined {
  if (sealed.length < nonceBytes + tagBytes) return undefined
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceBytes)).setAAD(Buffer.from(label))
  decipher.setAuthTag(sealed.subarray(-tagBytes))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, -tagBytes)), decipher.final()])
  } catch {
    return undefined
  }
}

/** The key that epoch keys and transcripts of a pool are sealed under; it lies in its key file, never in the database. */
export function sealingKey(poolSeed: Buffer): Buffer {
  return sha256(Buffer.from('lichen/sealing/1'), poolSeed)
}
