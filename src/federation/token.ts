import { z } from 'zod'
import { type Identity, type PublicKeyHandle, verifySignature } from '#crypto'
import { type PoolId, parseJson, parsePoolId } from '#protocol'
import { federationLimits } from './limits.ts'

/** What a token says (RFC 7519): a pool names one of its users to one pool, for a while. */
export interface TokenClaims {
  /** The pool that issued it, and signed. */
  readonly issuer: PoolId
  /** The one pool that may take it. */
  readonly audience: PoolId
  /** Whom it is about, as the issuer names its users. */
  readonly subject: string
  /** Unix seconds. */
  readonly issuedAt: number
  readonly expiresAt: number
  readonly id: string
}

export type TokenRefusal =
  | 'malformed_token'
  | 'header_refused'
  | 'claims_refused'
  | 'wrong_audience'
  | 'not_yet_valid'
  | 'expired'
  | 'lives_too_long'
  | 'unknown_issuer'
  | 'bad_signature'

const { tokenCharsMax, tokenLifeMsMax, tokenAheadMsMax } = federationLimits
const form = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/
const header = Buffer.from('{"alg":"EdDSA","typ":"JWT"}').toString('base64url')

const poolId = z.string().transform((text, context) => {
  const id = parsePoolId(text)
  if (!id) context.addIssue('64 lowercase hex digits')
  return id ?? z.NEVER
})
const seconds = z.int().min(0).max(99_999_999_999)
/** Nothing in a header may choose a key or a rule: no `jwk`, `jku`, `x5c`, `crit`, `b64`; `kid` may repeat the issuer. */
const headerSchema = z.strictObject({ alg: z.literal('EdDSA'), typ: z.literal('JWT'), kid: z.string().optional() })
/** Claims beyond these are passed over. One audience: a token is for one pool. */
const claimsSchema = z.object({
  iss: poolId,
  aud: poolId,
  sub: z.string().min(1).max(200),
  iat: seconds,
  exp: seconds,
  nbf: seconds.optional(),
  jti: z.string().regex(/^[\x21-\x7e]{1,64}$/, '1 to 64 printable ASCII characters'),
})

/** Whether this bearer is meant as a token at all. */
export const looksLikeToken = (bearer: string) => bearer.length <= tokenCharsMax && form.test(bearer)

/** A signed token. */
export function issueToken(identity: Pick<Identity, 'sign'>, claims: TokenClaims): string {
  const { issuer: iss, audience: aud, subject: sub, issuedAt: iat, expiresAt: exp, id: jti } = claims
  const payload = Buffer.from(JSON.stringify({ iss, aud, sub, iat, exp, jti })).toString('base64url')
  const signed = `${header}.${payload}`
  return `${signed}.${identity.sign(Buffer.from(signed)).toString('base64url')}`
}

/**
 * Reads a compact JWS, and takes it only in the one form there is: base64url without padding or stray bits, strict JSON, EdDSA, one
 * audience, at most a day. `keyOf` gives the key of an issuer that counts here.
 */
export function verifyToken(
  token: string,
  self: PoolId,
  now: number,
  keyOf: (issuer: PoolId) => PublicKeyHandle | Buffer | undefined,
): { readonly ok: true; readonly claims: TokenClaims } | { readonly ok: false; readonly code: TokenRefusal } {
  const no = (code: TokenRefusal) => ({ ok: false, code }) as const
  const [, head = '', body = '', tail = ''] = (token.length <= tokenCharsMax && form.exec(token)) || []
  const [first, second, signature] = [bytesOf(head), bytesOf(body), bytesOf(tail)]
  if (!first || !second || !signature || signature.length !== 64) return no('malformed_token')
  const parsed = headerSchema.safeParse(jsonOf(first))
  if (!parsed.success) return no('header_refused')
  const read = claimsSchema.safeParse(jsonOf(second))
  if (!read.success) return no('claims_refused')
  const { iss, aud, sub, iat, exp, nbf = iat, jti } = read.data
  if (parsed.data.kid !== undefined && parsed.data.kid !== iss) return no('header_refused')
  if (aud !== self) return no('wrong_audience')
  if (exp <= iat || (exp - iat) * 1_000 > tokenLifeMsMax) return no('lives_too_long')
  if (Math.max(iat, nbf) * 1_000 > now + tokenAheadMsMax) return no('not_yet_valid')
  if (exp * 1_000 <= now) return no('expired')
  const key = keyOf(iss)
  if (!key) return no('unknown_issuer')
  if (!verifySignature(key, Buffer.from(`${head}.${body}`), signature)) return no('bad_signature')
  return { ok: true, claims: { issuer: iss, audience: aud, subject: sub, issuedAt: iat, expiresAt: exp, id: jti } }
}

/** Whose a token says it is, and its id; nothing is proven by it. */
export function claimsOf(token: string): Pick<TokenClaims, 'issuer' | 'id'> | undefined {
  const read = claimsSchema.safeParse(jsonOf(bytesOf(form.exec(token)?.[2] ?? '') ?? Buffer.alloc(0)))
  return read.success ? { issuer: read.data.iss, id: read.data.jti } : undefined
}

/** The bytes of base64url that is written the one way; undefined for any other. */
function bytesOf(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return text !== '' && bytes.toString('base64url') === text ? bytes : undefined
}

function jsonOf(bytes: Buffer): unknown {
  const json = parseJson(bytes, { bodyBytesMax: tokenCharsMax, jsonDepthMax: 8 })
  return json.ok ? json.value : undefined
}
