import { z } from 'zod'
import { type Identity, type PublicKeyHandle, sha256, verifySignature } from '#crypto'
import { decodeStrict, encode, type PoolId, parsePoolId } from '#protocol'
import { factLimits } from '../limits.ts'

/** When its author says it was: milliseconds since 1970, and a counter for what falls into one millisecond (a hybrid logical clock). */
export interface Stamp {
  readonly ms: number
  readonly count: number
}

/** What one pool says under one of its own names. */
export interface Fact extends Stamp {
  readonly author: PoolId
  /** Of the author's log: grows when the author lost its newest facts with a backup. */
  readonly generation: number
  /** What sort of thing is said: `model`, `revocation`, `slash`, … */
  readonly kind: string
  readonly name: string
  /** Null takes the name back. */
  readonly value: Buffer | null
  /** The author's fact before this one, by its hash; null: its first. */
  readonly prev: string | null
  /** Milliseconds since 1970; null: until it is replaced. */
  readonly expires: number | null
}

/** A fact as it was sent, with its name: sha256 over what is signed, in hex. */
export interface SignedFact extends Fact {
  readonly hash: string
  readonly wire: Buffer
}

export type FactRefusal =
  | 'too_large'
  | 'malformed'
  | 'forward_only'
  | 'author_unknown'
  | 'bad_signature'
  | 'from_the_future'
  | 'stale'
  | 'author_full'

/** What this version says and reads. Facts of other kinds are kept and passed on. */
export const factKinds = ['model', 'revocation', 'slash', 'fork'] as const

/** Kinds that are said once and never taken back: the first version stands. */
export const forwardOnly: ReadonlySet<string> = new Set(['revocation', 'slash', 'fork'])

const tag = Buffer.from('lichen-fact/1\n')
const signatureBytes = 64

const bytes = (length?: number) =>
  z.custom<Uint8Array>((value) => value instanceof Uint8Array && (length === undefined || value.length === length))
const time = z.int().min(0)

const bodySchema = z.strictObject({
  author: bytes(32),
  count: z.int().min(0).max(factLimits.stampCountMax),
  expires: time.nullable(),
  generation: z.int().min(1).max(999_999_999),
  kind: z.string().regex(/^[a-z][a-z-]{0,31}$/, 'lowercase letters and -'),
  ms: time,
  name: z
    .string()
    .min(1)
    .max(factLimits.nameCharsMax)
    .refine((text) => text.isWellFormed() && !text.includes('\0')),
  prev: bytes(32).nullable(),
  value: bytes().nullable(),
})

/** Whether `a` was said before `b`, as far as their author tells. */
export function isBefore(a: Stamp, b: Stamp): boolean {
  return a.ms === b.ms ? a.count < b.count : a.ms < b.ms
}

/** The stamp of what is said now, after `last`: never earlier, even where the clock went back. */
export function nextStamp(now: number, last: Stamp | undefined): Stamp {
  if (!last || now > last.ms) return { ms: now, count: 0 }
  return last.count < factLimits.stampCountMax ? { ms: last.ms, count: last.count + 1 } : { ms: last.ms + 1, count: 0 }
}

/** @throws RangeError where the fact could not be read again: our bug. */
export function signFact(fact: Fact, author: Pick<Identity, 'sign'>): SignedFact {
  const { author: id, prev, value, ...rest } = fact
  const body = encode({ ...rest, author: hex(id), prev: prev === null ? null : hex(prev), value })
  const wire = Buffer.concat([body, author.sign(Buffer.concat([tag, body]))])
  const read = readFact(wire)
  if (!read.ok) throw new RangeError(`a fact that nobody could read: ${read.code}`)
  return read.fact
}

export type ReadFact =
  | { readonly ok: true; readonly fact: SignedFact }
  | { readonly ok: false; readonly code: FactRefusal }

/** Only the form; whether it is signed, {@link whyRefused} says. Never throws. */
export function readFact(wire: Buffer): ReadFact {
  if (wire.length > factLimits.factBytesMax) return { ok: false, code: 'too_large' }
  const body = wire.subarray(0, -signatureBytes)
  const decoded = decodeStrict(body, { signedBytesMax: factLimits.factBytesMax, signedDepthMax: 1 })
  const parsed = decoded.ok ? bodySchema.safeParse(decoded.value) : undefined
  if (!parsed?.success || wire.length <= signatureBytes) return { ok: false, code: 'malformed' }
  const { author, prev, value, ...rest } = parsed.data
  const id = parsePoolId(Buffer.from(author).toString('hex'))
  if (!id) return { ok: false, code: 'malformed' }
  if (forwardOnly.has(rest.kind) && (value === null || rest.expires !== null))
    return { ok: false, code: 'forward_only' }
  const fact = {
    ...rest,
    author: id,
    prev: prev && Buffer.from(prev).toString('hex'),
    value: value && Buffer.from(value),
    hash: sha256(tag, body).toString('hex'),
    wire,
  }
  return { ok: true, fact }
}

/** What a pool asks of every fact before it keeps it. `key`: the author's, where that pool is known here and not revoked. */
export function whyRefused(
  fact: SignedFact,
  key: PublicKeyHandle | Buffer | undefined,
  now: number,
): FactRefusal | undefined {
  if (!key) return 'author_unknown'
  if (fact.ms > now + factLimits.aheadMsMax) return 'from_the_future'
  const [body, signature] = [fact.wire.subarray(0, -signatureBytes), fact.wire.subarray(-signatureBytes)]
  return verifySignature(key, Buffer.concat([tag, body]), signature) ? undefined : 'bad_signature'
}

const hex = (text: string) => Buffer.from(text, 'hex')
