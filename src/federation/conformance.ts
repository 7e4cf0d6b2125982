import { isIP } from 'node:net'
import { z } from 'zod'
import { acceptPublicKey, identityFromSeed, sha256 } from '#crypto'
import {
  type ConformanceOp,
  conformanceOp,
  hexSchema,
  isSuccessionSignedBy,
  type OpResult,
  openSuccession,
  parsePoolId,
  refused,
} from '#protocol'
import { whyNotAccepted } from './acceptance.ts'
import { adminSignatureSchema } from './admin-request.ts'
import { signEnvelope } from './envelope.ts'
import { readFact, type SignedFact, whyRefused } from './facts/fact.ts'
import { countingFacts, type FactSet, faultsOf, joinFacts, viewOf } from './facts/merge.ts'
import { checkPeerUrl } from './peer-url.ts'
import { readHead } from './read-envelope.ts'
import { verifyToken } from './token.ts'
import { isFresh, type KnownKey, verifyEnvelope, whyNotHeard } from './verify-envelope.ts'

const poolId = z.string().transform((text, context) => {
  const id = parsePoolId(text)
  if (!id) context.addIssue('64 lowercase hex digits')
  return id ?? z.NEVER
})
const base64 = z.base64('padded standard base64').transform((text) => Buffer.from(text, 'base64'))
const bytes32 = hexSchema.refine((bytes) => bytes.length === 32, '32 bytes')

const signSchema = z.strictObject({
  seed: bytes32,
  version: z.literal([1, 2]),
  audience: poolId,
  method: z.string(),
  target: z.string(),
  content_type: z.string().default(''),
  body: base64,
  timestamp: z.int().min(0),
  nonce: z.string(),
  hop: z.int().min(0).optional(),
  chain: z.array(z.string()).max(8).optional(),
})

function sign({ seed, content_type, hop, chain, ...rest }: z.infer<typeof signSchema>): OpResult {
  const way = { ...(hop === undefined ? {} : { hop }), ...(chain ? { chain } : {}) }
  const { headers, signedBytes } = signEnvelope(identityFromSeed(seed), { ...rest, contentType: content_type, ...way })
  return { ok: true, output: { headers, signed_sha256: sha256(signedBytes).toString('hex') } }
}

const verifySchema = z.strictObject({
  self: poolId,
  /** Milliseconds. */
  now: z.int().min(0),
  known: z
    .array(
      z.strictObject({
        public_key: bytes32,
        revoked: z.boolean().default(false),
        spoke_v2: z.boolean().default(false),
      }),
    )
    .max(1_000),
  seen: z
    .array(z.strictObject({ sender: z.string(), nonce: z.string() }))
    .max(1_000)
    .default([]),
  request: z.strictObject({
    method: z.string(),
    target: z.string(),
    headers: z.array(z.tuple([z.string(), z.string()])).max(200),
    body: base64,
  }),
})

type VerifyInput = z.infer<typeof verifySchema>

/** The receiver of a pool in its order, with the list of nonces given instead of kept. */
function verify({ self, now, known, seen, request }: VerifyInput): OpResult {
  const read = readHead({ ...request, headers: request.headers.flat() }, request.body.length)
  if (!read.ok) return no(read.code)
  const envelope = { ...read.envelope, body: request.body }
  if (!isFresh(envelope, now)) return no('not_fresh')
  const entry = known.find(({ public_key }) => sha256(public_key).toString('hex') === envelope.sender)
  if (entry && !acceptPublicKey(entry.public_key).ok) return no('key_refused')
  const key: KnownKey | undefined = entry && { key: entry.public_key, revoked: entry.revoked, spokeV2: entry.spoke_v2 }
  const unheard = whyNotHeard(envelope, key)
  if (unheard) return no(unheard.code)
  const verified = verifyEnvelope(envelope, key, self)
  if (!verified.ok) return no(verified.code)
  if (seen.some((one) => one.sender === envelope.sender && one.nonce === envelope.nonce)) return no('replayed')
  const { sender, version, hop } = envelope
  return { ok: true, output: { sender, version, hop, request_hash: verified.requestHash.toString('hex') } }
}

const no = (code: string) => refused(code, 'The envelope is refused.')

const cidr = z.string().refine((text) => {
  const [address = '', bits = '', ...more] = text.split('/')
  const family = isIP(address)
  return family > 0 && more.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)
}, 'a range in CIDR notation')

const urlSchema = z.strictObject({
  url: z.string(),
  /** What the name resolved to; left out: not asked yet. */
  resolved: z.array(z.string()).max(64).optional(),
  http_hosts: z.array(z.string()).max(64).default([]),
  private_ranges: z.array(cidr).max(64).default([]),
})

function checkUrl({ url, resolved, http_hosts, private_ranges }: z.infer<typeof urlSchema>): OpResult {
  const checked = checkPeerUrl(url, { httpHosts: http_hosts, privateRanges: private_ranges }, resolved)
  if (!checked.ok) return refused(checked.code, 'The URL may not be called.')
  const { origin, host, addresses } = checked
  return { ok: true, output: { origin, host, addresses: addresses ?? null } }
}

const mergeSchema = z.strictObject({
  /** Milliseconds. */
  now: z.int().min(0),
  /** Public keys of the pools that are known. */
  authors: z.array(bytes32).max(64),
  /** What each pool holds: facts in their wire form. */
  sets: z.array(z.array(base64).max(1_000)).max(16),
  /** Hashes of facts that a human has put aside. */
  discarded: z.array(z.string()).max(1_000).default([]),
})

/** Every fact is judged, those that are kept are joined, and what stands is computed from all of them. */
function mergeFacts({ now, authors, sets, discarded }: z.infer<typeof mergeSchema>): OpResult {
  const keys = new Map(authors.map((key) => [sha256(key).toString('hex'), key]))
  const refusals: { set: number; place: number; code: string }[] = []
  let all: FactSet<SignedFact> = new Map()
  for (const [set, wires] of sets.entries()) {
    const kept = new Map<string, SignedFact>()
    for (const [place, wire] of wires.entries()) {
      const read = readFact(wire)
      const code = read.ok ? whyRefused(read.fact, keys.get(read.fact.author), now) : read.code
      if (code) refusals.push({ set, place, code })
      else if (read.ok) kept.set(read.fact.hash, read.fact)
    }
    all = joinFacts(all, kept)
  }
  const aside = new Set(discarded)
  const view = viewOf(all, now, aside).map(({ author, kind, name, value, hash }) => ({
    author,
    kind,
    name,
    value: value?.toString('base64') ?? null,
    hash,
  }))
  return {
    ok: true,
    output: {
      facts: [...all.keys()].sort(),
      refused: refusals,
      faults: faultsOf(all, aside),
      counting: countingFacts(all, aside).length,
      view,
    },
  }
}

const tokenSchema = z.strictObject({
  token: z.string(),
  self: poolId,
  /** Milliseconds. */
  now: z.int().min(0),
  /** Raw keys of pools whose tokens count. */
  issuers: z.array(bytes32).max(1_000),
})

function verifyJwt({ token, self, now, issuers }: z.infer<typeof tokenSchema>): OpResult {
  const verified = verifyToken(token, self, now, (id) => {
    const key = issuers.find((one) => sha256(one).toString('hex') === id)
    return key && acceptPublicKey(key).ok ? key : undefined
  })
  if (!verified.ok) return refused(verified.code, 'The token is refused.')
  const { issuer, audience, subject, issuedAt, expiresAt, id } = verified.claims
  return { ok: true, output: { iss: issuer, aud: audience, sub: subject, iat: issuedAt, exp: expiresAt, jti: id } }
}

const successionSchema = z.strictObject({
  note: z.string(),
  /** The key that is known. */
  public_key: bytes32,
  /** Admin keys of the pool that are known; one of them must have signed where there are any. */
  admin_keys: z.array(bytes32).max(64).default([]),
})

function verifySuccession({ note, public_key, admin_keys }: z.infer<typeof successionSchema>): OpResult {
  const opened = openSuccession(note)
  if (!opened.ok) return refused(opened.code, 'The statement is refused.')
  const { from, to, generation, last, at } = opened.succession
  if (!from.equals(public_key)) return refused('another_pool', 'The statement is of another pool.')
  if (admin_keys.length > 0 && !admin_keys.some((key) => isSuccessionSignedBy(note, key)))
    return refused('admin_missing', 'No admin of the pool has signed the statement.')
  const output = {
    from: idOf(from),
    to: idOf(to),
    generation,
    last: { ...last, root: last.root.toString('base64') },
    at,
  }
  return { ok: true, output }
}
const idOf = (key: Buffer) => sha256(key).toString('hex')

const acceptanceSchema = z.strictObject({
  giver: poolId,
  receiver: poolId,
  level: z.literal([3, 4]),
  ...adminSignatureSchema.shape,
  signature: z.base64().max(200),
  /** Admin keys of the giver that a human of the receiver has registered. */
  admin_keys: z.array(bytes32).max(64),
  /** Milliseconds. */
  now: z.int().min(0),
})

function verifyAcceptance({ admin_keys, now, ...signed }: z.infer<typeof acceptanceSchema>): OpResult {
  const why = whyNotAccepted(signed, new Map(admin_keys.map((key) => [idOf(key), key])), now)
  if (why) return refused(why, 'The acceptance is refused.')
  const { giver, receiver, level, key_id: admin, signed_at: at } = signed
  return { ok: true, output: { giver, receiver, level, admin, at } }
}

/** Operations of federation; docs/reference/conformance.md shows an example of each. */
export const federationOps: Readonly<Record<string, ConformanceOp>> = {
  'acceptance.verify': conformanceOp(acceptanceSchema, verifyAcceptance),
  'envelope.sign': conformanceOp(signSchema, sign),
  'envelope.verify': conformanceOp(verifySchema, verify),
  'facts.merge': conformanceOp(mergeSchema, mergeFacts),
  'jwt.verify': conformanceOp(tokenSchema, verifyJwt),
  'peerurl.check': conformanceOp(urlSchema, checkUrl),
  'succession.verify': conformanceOp(successionSchema, verifySuccession),
}
