import { sha256 } from '#crypto'
import { type PoolId, parsePoolId, type Refusal } from '#protocol'
import { identityLimits } from './limits.ts'

/** What a worker needs to find its pool and to be let in once. */
export interface Invite {
  /** Where the pool is: http(s) or ws(s), without user, query or fragment. */
  readonly url: string
  readonly poolId: PoolId
  /** 32 bytes, good once. */
  readonly token: Buffer
}

const prefix = 'lichen1_'
const idBytes = 32
const tokenBytes = 32
/** First bytes of the sha256 of all before them: an invite is carried by people, who lose characters. */
const checkBytes = 4
const protocols = new Set(['http:', 'https:', 'ws:', 'wss:'])

/** `lichen1_` + base64url(pool id 32 ‖ token 32 ‖ url ‖ check 4). @throws TypeError when a part is not what it should be. */
export function encodeInvite({ url, poolId, token }: Invite): string {
  if (token.length !== tokenBytes || !isPoolUrl(url))
    throw new TypeError('an invite needs a pool URL and a 32-byte token')
  const body = Buffer.concat([Buffer.from(poolId, 'hex'), token, Buffer.from(url)])
  return prefix + Buffer.concat([body, check(body)]).toString('base64url')
}

/** Reads what a person pasted: white space anywhere is forgiven, nothing else. */
export function parseInvite(text: string): { ok: true; invite: Invite } | { ok: false; refusal: Refusal } {
  const invite = decode(text.replace(/\s+/g, ''))
  if (invite) return { ok: true, invite }
  return {
    ok: false,
    refusal: {
      code: 'invite_invalid',
      message: 'This is not a whole invite.',
      fix: `Copy all of it, from ${prefix} to its end, or ask the pool’s operator for another.`,
    },
  }
}

function decode(text: string): Invite | undefined {
  if (!text.startsWith(prefix) || text.length > 2_000) return undefined
  const encoded = text.slice(prefix.length)
  const bytes = Buffer.from(encoded, 'base64url')
  const minimum = idBytes + tokenBytes + checkBytes + 1
  if (bytes.length < minimum || bytes.toString('base64url') !== encoded) return undefined
  const body = bytes.subarray(0, -checkBytes)
  if (!check(body).equals(bytes.subarray(-checkBytes))) return undefined
  const poolId = parsePoolId(body.toString('hex', 0, idBytes))
  const url = body.toString('utf8', idBytes + tokenBytes)
  if (!poolId || !isPoolUrl(url)) return undefined
  return { url, poolId, token: Buffer.from(body.subarray(idBytes, idBytes + tokenBytes)) }
}

const check = (body: Buffer) => sha256(body).subarray(0, checkBytes)

function isPoolUrl(text: string): boolean {
  if (Buffer.byteLength(text) > identityLimits.inviteUrlBytesMax || !URL.canParse(text)) return false
  const { protocol, hostname, username, password, search, hash } = new URL(text)
  return protocols.has(protocol) && hostname !== '' && `${username}${password}${search}${hash}` === ''
}
