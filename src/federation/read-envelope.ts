import { type PoolId, parsePoolId } from '#protocol'
import { type EnvelopeVersion, envelopeHeaders, type SignedParts, type Stamp } from './envelope.ts'
import { federationLimits } from './limits.ts'

/** The head of a request as it came. */
export interface RawHead {
  readonly method: string
  readonly target: string
  /** Name, value, name, value: names in any case, repeated ones still apart. */
  readonly headers: readonly string[]
}

export interface RawRequest extends RawHead {
  readonly body: Buffer
}

export interface EnvelopeHead extends Stamp, Omit<SignedParts, 'body'> {
  readonly version: EnvelopeVersion
  readonly sender: PoolId
  readonly signature: Buffer
}

export interface ReadEnvelope extends EnvelopeHead {
  readonly body: Buffer
}

export type EnvelopeRefusal =
  | 'body_too_large'
  | 'malformed_target'
  | 'duplicate_header'
  | 'missing_header'
  | 'malformed_header'
  | 'hop_not_allowed'
  | 'not_fresh'
  | 'unknown_signer'
  | 'revoked'
  | 'downgrade'
  | 'bad_signature'
  | 'replayed'
  | 'invalid_body'
  | 'origin_mismatch'
  | 'key_refused'
  | 'hop_limit'
  | 'loop'

export interface Refused {
  readonly ok: false
  readonly code: EnvelopeRefusal
}
export const refuse = (code: EnvelopeRefusal): Refused => ({ ok: false, code })

/** The one GET of version 1 whose signed path holds the query. */
const v1QueryPath = '/v1/federation/memory/since'
export const jobPath = '/v1/federation/job'
export const receiptPath = '/v1/federation/receipt'

const plainPath = /^\/v1\/federation(?:\/[a-z0-9_-]+)+$/
const printable = /^[\x21-\x22\x24-\x7e]+$/
const decimal = /^(?:0|[1-9][0-9]{0,11})$/
const nonceForm = /^[0-9a-f]{16}$/
const contentTypeForm = /^[\x20-\x7e]{0,200}$/

/** Sizes and syntax, before a key is looked at: a few microseconds for garbage. `bodyBytes`: as many as there are, or are said to come. */
export function readHead(head: RawHead, bodyBytes: number): { ok: true; envelope: EnvelopeHead } | Refused {
  if (bodyBytes > federationLimits.bodyBytesMax) return refuse('body_too_large')
  const found = collect(head.headers)
  if (!found) return refuse('duplicate_header')
  const version = readVersion(found.get(envelopeHeaders.version))
  if (!version) return refuse('malformed_header')
  const { method, target } = head
  if (!targetFits(version, method, target)) return refuse('malformed_target')
  const sender = found.get(envelopeHeaders.sender)
  const timestamp = found.get(envelopeHeaders.timestamp)
  const nonce = found.get(envelopeHeaders.nonce)
  const signature = found.get(envelopeHeaders.signature)
  if (sender === undefined || timestamp === undefined || nonce === undefined || signature === undefined)
    return refuse('missing_header')
  const id = parsePoolId(sender)
  const bytes = readSignature(signature)
  const contentType = found.get('content-type') ?? ''
  if (!id || !bytes || !decimal.test(timestamp) || !nonceForm.test(nonce) || !contentTypeForm.test(contentType))
    return refuse('malformed_header')
  const way = readWay(id, found)
  if (!way) return refuse('malformed_header')
  if (way.hop > 0 && pathOf(target) !== jobPath) return refuse('hop_not_allowed')
  const stamp = { sender: id, timestamp: Number(timestamp), nonce, ...way }
  return { ok: true, envelope: { version, ...stamp, method, target, contentType, signature: bytes } }
}

const read: ReadonlySet<string> = new Set([...Object.values(envelopeHeaders), 'content-type'])

/** The headers that count, by name; undefined when one of them stands twice. */
function collect(headers: RawHead['headers']): Map<string, string> | undefined {
  const found = new Map<string, string>()
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at]?.toLowerCase() ?? ''
    if (!read.has(name)) continue
    if (found.has(name)) return undefined
    found.set(name, headers[at + 1] ?? '')
  }
  return found
}

function readVersion(text: string | undefined): EnvelopeVersion | undefined {
  if (text === undefined) return 1
  return text === '2' ? 2 : undefined
}

function targetFits(version: EnvelopeVersion, method: string, target: string): boolean {
  if (target.length > federationLimits.targetCharsMax) return false
  const path = pathOf(target)
  if (!plainPath.test(path)) return false
  if (path === target) return true
  if (!printable.test(target)) return false
  return version === 2 || (method === 'GET' && path === v1QueryPath)
}

export function pathOf(target: string): string {
  const at = target.indexOf('?')
  return at < 0 ? target : target.slice(0, at)
}

/** 64 bytes in padded standard base64, written the one way. */
function readSignature(text: string): Buffer | undefined {
  if (text.length !== 88) return undefined
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === 64 && bytes.toString('base64') === text ? bytes : undefined
}

/** As many ids as hops, nobody twice, the sender last. */
function readWay(sender: PoolId, found: ReadonlyMap<string, string>): { hop: number; chain: PoolId[] } | undefined {
  const text = found.get(envelopeHeaders.hop) ?? '0'
  if (!/^[0-2]$/.test(text)) return undefined
  const csv = found.get(envelopeHeaders.chain) ?? ''
  const ids = csv === '' ? [] : csv.split(',').map(parsePoolId)
  const chain = ids.filter((id) => id !== undefined)
  const hop = Number(text)
  if (ids.length !== hop || chain.length !== hop || new Set(chain).size !== hop) return undefined
  return hop > 0 && chain.at(-1) !== sender ? undefined : { hop, chain }
}
