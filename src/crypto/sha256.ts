import { createHash, hash } from 'node:crypto'

/** Up to here joining the parts costs less than a hash object of several updates (measured: 1 against 6 µs). */
const joinedBytesMax = 16_384

/** SHA-256 (FIPS 180-4) over the parts, one after the other. 32 bytes. */
export function sha256(...parts: readonly Buffer[]): Buffer {
  const [only] = parts
  if (only && parts.length === 1) return Buffer.from(sha256Text(only), 'latin1')
  let bytes = 0
  for (const part of parts) bytes += part.length
  if (bytes <= joinedBytesMax) return Buffer.from(sha256Text(Buffer.concat(parts, bytes)), 'latin1')
  const all = createHash('sha256')
  for (const part of parts) all.update(part)
  return all.digest()
}

/** SHA-256 as text of 32 characters, one for each byte (Latin-1): Node makes it three times as fast as a Buffer. */
export function sha256Text(bytes: Buffer): string {
  return hash('sha256', bytes, 'binary')
}
