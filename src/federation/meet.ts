import { z } from 'zod'
import { acceptPublicKey, sha256 } from '#crypto'
import { hex64, type PoolId, parsePoolId } from '#protocol'
import { federationLimits } from './limits.ts'
import type { Callee, NotCalled, Outbound } from './outbound.ts'
import { handshakePath } from './verify-envelope.ts'

const { nameCharsMax, capabilitiesMax, urlCharsMax } = federationLimits

/** What a pool says of itself when it shakes hands. Members beyond these are passed over: other versions may say more. */
export const introductionSchema = z.object({
  name: z.string().max(nameCharsMax),
  url: z.string().max(urlCharsMax),
  molecule_id: z.string().max(nameCharsMax).nullish(),
  capabilities: z
    .array(z.object({ kind: z.string().max(nameCharsMax) }).loose())
    .max(capabilitiesMax)
    .default([]),
})

export const infoPath = '/v1/federation/info'

const infoSchema = introductionSchema.extend({
  atom_id: z.string(),
  pubkey_hex: hex64,
  envelope_versions: z.array(z.int()).max(16).default([1]),
})

/** A pool as it shows itself at its own address. */
export interface Seen {
  readonly ok: true
  readonly id: PoolId
  readonly key: Buffer
  readonly version: 1 | 2
  readonly introduction: z.infer<typeof introductionSchema>
}

export interface NotSeen {
  readonly ok: false
  readonly code: NotCalled['code'] | 'key_refused' | 'key_mismatch'
  readonly message: string
}

/** Asks a URL who is there. Of a stranger nothing is signed yet: the key it tells is what all its later answers are held to. */
export async function lookAt(
  outbound: Outbound,
  to: Callee,
  { expected, signal }: { expected?: PoolId | undefined; signal?: AbortSignal } = {},
): Promise<Seen | NotSeen> {
  const ask = { method: 'GET', target: infoPath, ...(signal ? { signal } : {}) } as const
  const called = await outbound.call(to, ask)
  if (!called.ok) return called
  const read = infoSchema.safeParse(called.body)
  if (!read.success)
    return notSeen('answer_malformed', `Its \`info\` has no valid ${read.error.issues[0]?.path.join('.')}.`)
  const { atom_id, pubkey_hex, envelope_versions, ...introduction } = read.data
  const key = Buffer.from(pubkey_hex, 'hex')
  const id = parsePoolId(sha256(key).toString('hex'))
  if (!id || atom_id !== id) return notSeen('key_mismatch', 'Its id is not the hash of its key.')
  if (expected && expected !== id) return notSeen('key_mismatch', `Another pool is there: ${id}.`)
  if (!acceptPublicKey(key).ok)
    return notSeen('key_refused', 'Its key is not acceptable: everybody could sign under it.')
  return { ok: true, id, key, version: envelope_versions.includes(2) ? 2 : 1, introduction }
}

const notSeen = (code: NotSeen['code'], message: string): NotSeen => ({ ok: false, code, message })

const shakenSchema = z.object({ ok: z.literal(true), peer_trust_level: z.int().min(0).max(4).default(1) })

/** Introduces this pool to one whose key is known. `trust`: what it says it trusts this pool with. */
export async function shakeHands(
  outbound: Outbound,
  to: Callee,
  self: object,
  requestReciprocation: boolean,
): Promise<{ ok: true; trust: number } | NotCalled> {
  const body = { ...self, request_reciprocation: requestReciprocation }
  const called = await outbound.call(to, { method: 'POST', target: handshakePath, body })
  if (!called.ok) return called
  const shaken = shakenSchema.safeParse(called.body)
  if (!shaken.success) return { ok: false, code: 'answer_malformed', message: 'It did not confirm the handshake.' }
  return { ok: true, trust: shaken.data.peer_trust_level }
}
