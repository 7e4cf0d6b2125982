import { z } from 'zod'
import { assuranceLevels } from '../assurance.ts'
import { protocolLimits } from '../limits.ts'

/** Exactly `n` bytes. */
const bytes = (n: number) =>
  z
    .custom<Uint8Array>((value) => value instanceof Uint8Array && value.length === n, `must be ${n} bytes`)
    .transform((value) => Buffer.from(value.buffer, value.byteOffset, value.byteLength))

export const bytes16 = bytes(16)
export const bytes32 = bytes(32)
export const bytes64 = bytes(64)

/** The wire form of another message. */
export const wireBytes = z
  .custom<Uint8Array>((value) => value instanceof Uint8Array, 'must be bytes')
  .transform((value) => Buffer.from(value.buffer, value.byteOffset, value.byteLength))

/** The greatest `bigint` of PostgreSQL, so that what is signed can be stored. */
const amountMax = 2n ** 63n - 1n

/** Micro-credits: 0 … 2^63 − 1; a safe integer is read as the bigint it is. */
export const amount = z
  .custom<number | bigint>(
    (value) =>
      (Number.isSafeInteger(value) || typeof value === 'bigint') &&
      (value as number) >= 0 &&
      BigInt(value as number) <= amountMax,
    'must be an amount in micro-credits',
  )
  .transform((value) => BigInt(value))

/** 0 … 2^53 − 1. */
export const count = z.int().min(0)
/** Milliseconds since 1970. */
export const time = z.int().min(0)

export const text = (charsMax: number) =>
  z
    .string()
    .max(charsMax)
    .refine((value) => value.isWellFormed(), 'must be well-formed text')

/** Any UUID as RFC 9562 writes it, in lower case: one id, one spelling. */
export const uuid = z.string().regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'must be a UUID in lower case')

export const modelName = text(protocolLimits.modelNameCharsMax)
export const account = text(200)
export const kind = z.enum(['chat', 'completion', 'embedding'])
export const custody = z.enum(['payer', 'pool'])
export const decodeMode = z.enum(['batched', 'isolated'])
export const assuranceLevel = z.enum(assuranceLevels)

/** Micro-credits for one token. */
export const prices = z.strictObject({ prompt: amount, completion: amount })
/** Tokens. */
export const usage = z.strictObject({ prompt: count, completion: count })
