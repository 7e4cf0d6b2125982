import { z } from 'zod'

/** A raw Ed25519 public key: 32 bytes, base64url without padding, in its one spelling. */
export const publicKeySchema = z
  .string()
  .regex(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/, 'a public key: 32 bytes as 43 characters of base64url')
  .transform((text) => Buffer.from(text, 'base64url'))

export const keyText = (raw: Buffer): string => raw.toString('base64url')
