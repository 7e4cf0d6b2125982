import { createHash, hash } from 'node:crypto'

/** SHA-256 (FIPS 180-4) over the parts, one after the other. 32 bytes. */
export function sha256(...parts: readonly Buffer[]): Buffer {
  const [only] = parts
  if (only && parts.length === 1) return hash('sha256', only, 'buffer')
  const all = createHash('sha256')
  for (const part of parts) all.update(part)
  return all.digest()
}
