import { z } from 'zod'
import { acceptPublicKey, canonicalize, verifySignature } from '#crypto'
import { parseJson } from './parse-json.ts'

/** What an operation answers: its output, or the code and sentence of what it refuses. */
export type OpResult =
  | { readonly ok: true; readonly output: unknown }
  | { readonly ok: false; readonly error: { readonly code: string; readonly message: string } }

/** One part of the product that a doubter can feed with vectors of their own. Never throws. */
export type ConformanceOp = (input: unknown) => OpResult

/** Bytes written as hex, in either case. */
export const hexSchema = z
  .string()
  .regex(/^(?:[0-9a-fA-F]{2})*$/, 'an even number of hex digits')
  .transform((text) => Buffer.from(text, 'hex'))

const base64Schema = z.base64('padded standard base64').transform((text) => Buffer.from(text, 'base64'))

/** An operation whose input is parsed first; what does not fit answers `invalid_input`. */
export function conformanceOp<T>(schema: z.ZodType<T>, run: (input: T) => OpResult): ConformanceOp {
  return (input) => {
    const parsed = schema.safeParse(input)
    if (parsed.success) return run(parsed.data)
    const issue = parsed.error.issues[0]
    return refused('invalid_input', `${issue?.path.join('.') || 'input'}: ${issue?.message}`)
  }
}

export function refused(code: string, message: string): OpResult {
  return { ok: false, error: { code, message } }
}

const keySchema = z.strictObject({ public_key: hexSchema })
const signedSchema = z.strictObject({ public_key: hexSchema, message: hexSchema, signature: hexSchema })
const bytesSchema = z.strictObject({ bytes: base64Schema })

function acceptKey(raw: Buffer): OpResult {
  const verdict = acceptPublicKey(raw)
  return verdict.ok ? { ok: true, output: { accepted: true } } : refused(verdict.reason, 'The public key is refused.')
}

function verifyUnderPolicy({ public_key, message, signature }: z.infer<typeof signedSchema>): OpResult {
  const accepted = acceptKey(public_key)
  if (!accepted.ok) return accepted
  if (verifySignature(public_key, message, signature)) return { ok: true, output: { valid: true } }
  return refused('bad_signature', 'The signature does not verify.')
}

function parseStrictly(bytes: Buffer): OpResult {
  const parsed = parseJson(bytes)
  return parsed.ok
    ? { ok: true, output: { value: parsed.value } }
    : refused(parsed.refusal.code, parsed.refusal.message)
}

function canonicalText(bytes: Buffer): OpResult {
  const parsed = parseJson(bytes)
  if (!parsed.ok) return refused(parsed.refusal.code, parsed.refusal.message)
  return { ok: true, output: { bytes: canonicalize(parsed.value).toString('base64') } }
}

/** Operations on keys, signatures and JSON; docs/reference/conformance.md shows one example of each. */
export const protocolOps: Readonly<Record<string, ConformanceOp>> = {
  'ed25519.acceptKey': conformanceOp(keySchema, ({ public_key }) => acceptKey(public_key)),
  'ed25519.verify': conformanceOp(signedSchema, verifyUnderPolicy),
  'json.parse': conformanceOp(bytesSchema, ({ bytes }) => parseStrictly(bytes)),
  'jcs.canonicalize': conformanceOp(bytesSchema, ({ bytes }) => canonicalText(bytes)),
}
