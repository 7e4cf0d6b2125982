import { acceptPublicKey, type PublicKeyHandle, sha256, verifySignature } from '#crypto'
import { type PoolId, parseJson } from '#protocol'
import { v1Bytes, v2Bytes } from './envelope.ts'
import { federationLimits } from './limits.ts'
import { type EnvelopeHead, jobPath, pathOf, type ReadEnvelope, type Refused, refuse } from './read-envelope.ts'

/** What is known of a signer. Its key was accepted when it was registered. */
export interface KnownKey {
  readonly key: PublicKeyHandle | Buffer
  readonly revoked: boolean
  /** It has presented a valid envelope of version 2 before; a human may reset it. */
  readonly spokeV2: boolean
}

export const handshakePath = '/v1/federation/handshake'

const bodyLimits = { bodyBytesMax: federationLimits.bodyBytesMax, jsonDepthMax: 32 }

export function isFresh(envelope: Pick<EnvelopeHead, 'timestamp'>, now: number): boolean {
  return Math.abs(envelope.timestamp * 1_000 - now) <= federationLimits.freshnessMs
}

/** Whether this key may sign at all, before a signature is looked at. */
export function whyNotHeard(envelope: EnvelopeHead, known: KnownKey | undefined): Refused | undefined {
  if (!known) return pathOf(envelope.target) === handshakePath ? undefined : refuse('unknown_signer')
  if (known.revoked) return refuse('revoked')
  return envelope.version === 1 && known.spokeV2 ? refuse('downgrade') : undefined
}

/** The bytes under the signature, as `self` receives them. */
export function signedBytesOf(envelope: ReadEnvelope, self: PoolId): Buffer {
  return envelope.version === 2 ? v2Bytes(envelope, self, envelope) : v1Bytes(envelope, envelope)
}

export interface Verified {
  readonly ok: true
  /** The raw key that signed. */
  readonly key: PublicKeyHandle | Buffer
  /** The parsed body; undefined where there is none. */
  readonly body: unknown
  /** sha256 of the signed bytes: what an answer is bound to. */
  readonly requestHash: Buffer
}

/**
 * The signature, and that the body speaks for its signer. An unknown signer of a handshake brings the key: its hash is compared first,
 * and whether the point is acceptable (1 ms) is asked only of who has signed.
 */
export function verifyEnvelope(envelope: ReadEnvelope, known: KnownKey | undefined, self: PoolId): Verified | Refused {
  const early = known ? undefined : readBody(envelope)
  if (early && !early.ok) return early
  const key = known?.key ?? keyIn(early?.value, envelope.sender)
  if (!key) return refuse('origin_mismatch')
  const bytes = signedBytesOf(envelope, self)
  if (!verifySignature(key, bytes, envelope.signature)) return refuse('bad_signature')
  if (Buffer.isBuffer(key) && !acceptPublicKey(key).ok) return refuse('key_refused')
  const body = early ?? readBody(envelope)
  if (!body.ok) return body
  if (!speaksFor(envelope, body.value)) return refuse('origin_mismatch')
  const wrongWay = whyNotThisWay(envelope, self)
  return wrongWay ?? { ok: true, key, body: body.value, requestHash: sha256(bytes) }
}

function readBody({ body, method }: ReadEnvelope): { ok: true; value: unknown } | Refused {
  if (method === 'GET') return body.length === 0 ? { ok: true, value: undefined } : refuse('invalid_body')
  const json = parseJson(body, bodyLimits)
  return json.ok ? json : refuse('invalid_body')
}

const memberOf = (body: unknown, name: string): unknown =>
  typeof body === 'object' && body !== null && Object.hasOwn(body, name)
    ? (body as Record<string, unknown>)[name]
    : undefined

function keyIn(body: unknown, sender: PoolId): Buffer | undefined {
  const hex = memberOf(body, 'pubkey_hex')
  if (typeof hex !== 'string' || !/^[0-9a-f]{64}$/.test(hex)) return undefined
  const raw = Buffer.from(hex, 'hex')
  return sha256(raw).toString('hex') === sender ? raw : undefined
}

/** Which member of a body names its origin. */
const originOf: Readonly<Record<string, string>> = {
  [handshakePath]: 'atom_id',
  '/v1/federation/verify': 'atom_id',
  [jobPath]: 'origin_pool_id',
  '/v1/federation/admin/request': 'origin_pool_id',
}

/** Each member in which a body names its origin names the signer; a handshake names its key as well. */
function speaksFor(envelope: ReadEnvelope, body: unknown): boolean {
  const named = ['atom_id', 'origin_pool_id'].map((name) => memberOf(body, name)).filter((id) => id !== undefined)
  const path = pathOf(envelope.target)
  const origin = originOf[path]
  if (origin && typeof memberOf(body, origin) !== 'string') return false
  if (path === handshakePath && !keyIn(body, envelope.sender)) return false
  return named.every((id) => id === envelope.sender)
}

function whyNotThisWay({ target, hop, chain }: ReadEnvelope, self: PoolId): Refused | undefined {
  if (pathOf(target) !== jobPath) return undefined
  if (chain.includes(self)) return refuse('loop')
  return hop >= federationLimits.hopMax ? refuse('hop_limit') : undefined
}
