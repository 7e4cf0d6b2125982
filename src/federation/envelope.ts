import { type Identity, sha256 } from '#crypto'
import type { PoolId } from '#protocol'

export type EnvelopeVersion = 1 | 2

/** What a signed request says about itself, besides method, target and body. */
export interface Stamp {
  readonly sender: string
  /** Unix seconds. */
  readonly timestamp: number
  /** 16 hex digits, used once. */
  readonly nonce: string
  /** Pools the request has passed. */
  readonly hop: number
  /** Their ids, oldest first. */
  readonly chain: readonly string[]
}

export interface SignedParts {
  readonly method: string
  /** The request target as sent. */
  readonly target: string
  /** Empty where there is none. */
  readonly contentType: string
  readonly body: Buffer
}

/** The names on the wire, in lower case as HTTP compares them. */
export const envelopeHeaders = {
  sender: 'x-iamine-atom-id',
  timestamp: 'x-iamine-timestamp',
  nonce: 'x-iamine-nonce',
  hop: 'x-iamine-hop',
  chain: 'x-iamine-forward-chain',
  signature: 'x-iamine-signature',
  version: 'x-iamine-envelope',
} as const

/** Version 1 (spec/federation.md): lines, then the body as it is. It names no audience. */
export function v1Bytes(stamp: Stamp, { method, target, body }: Omit<SignedParts, 'contentType'>): Buffer {
  const lines = [method, target, String(stamp.timestamp), stamp.nonce, String(stamp.hop), stamp.chain.join(','), '']
  return Buffer.concat([Buffer.from(lines.join('\n'), 'utf8'), body])
}

/** Version 2: a domain tag, then fields with their length, so that no byte can move from one into the next. */
export function v2Bytes(stamp: Stamp, audience: string, { method, target, contentType, body }: SignedParts): Buffer {
  return fields(
    'lichen-federation-request/2',
    stamp.sender,
    audience,
    method,
    target,
    contentType,
    sha256(body),
    String(stamp.timestamp),
    stamp.nonce,
    String(stamp.hop),
    stamp.chain.join(','),
  )
}

/** Each field as u32 length (big-endian) and bytes. */
export function fields(...list: readonly (string | Buffer)[]): Buffer {
  const parts = list.flatMap((field) => {
    const bytes = Buffer.from(field as string)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return [length, bytes]
  })
  return Buffer.concat(parts)
}

/** What an answer of version 2 says: it holds for one request, and only for who asked. */
export interface AnswerParts {
  readonly responder: string
  readonly asker: string
  /** sha256 of the request's signed bytes. */
  readonly requestHash: Buffer
  readonly status: number
  readonly contentType: string
  readonly body: Buffer
}

/** The signed bytes of a whole answer. */
export function answerBytes({ body, ...answer }: AnswerParts): Buffer {
  return boundBytes('lichen-federation-response/2', { ...answer, hash: sha256(body) })
}

/** The signed bytes of a stream, by the hash of everything before its last event. */
export function streamBytes(answer: Omit<AnswerParts, 'body'> & { readonly hash: Buffer }): Buffer {
  return boundBytes('lichen-federation-stream/2', answer)
}

function boundBytes(tag: string, answer: Omit<AnswerParts, 'body'> & { readonly hash: Buffer }): Buffer {
  const { responder, asker, requestHash, status, contentType, hash } = answer
  return fields(tag, responder, asker, requestHash, String(status), contentType, hash)
}

export interface SignOptions extends SignedParts {
  readonly version: EnvelopeVersion
  /** Whom it is for; version 1 cannot say it. */
  readonly audience: PoolId
  readonly timestamp: number
  readonly nonce: string
  readonly hop?: number
  readonly chain?: readonly string[]
}

/** The headers of a signed request, and the bytes the signature is over. */
export function signEnvelope(
  identity: Pick<Identity, 'id' | 'sign'>,
  options: SignOptions,
): { headers: Record<string, string>; signedBytes: Buffer } {
  const { version, audience, timestamp, nonce, hop = 0, chain = [] } = options
  const stamp = { sender: identity.id, timestamp, nonce, hop, chain }
  const signedBytes = version === 2 ? v2Bytes(stamp, audience, options) : v1Bytes(stamp, options)
  const headers = {
    [envelopeHeaders.sender]: identity.id,
    [envelopeHeaders.timestamp]: String(timestamp),
    [envelopeHeaders.nonce]: nonce,
    [envelopeHeaders.hop]: String(hop),
    [envelopeHeaders.chain]: chain.join(','),
    [envelopeHeaders.signature]: identity.sign(signedBytes).toString('base64'),
    ...(version === 2 ? { [envelopeHeaders.version]: '2' } : {}),
  }
  return { headers, signedBytes }
}

/** What a version 2 peer signs to prove that it is there; no envelope begins so. */
export function challengeBytes(responder: string, asker: string, challenge: Buffer): Buffer {
  return fields('lichen-federation-challenge/2', responder, asker, challenge)
}

/** What an admin of one pool signs who bonds it with another; the time tells acceptances apart. */
export function acceptanceBytes(acceptance: { giver: string; receiver: string; level: number; at: number }): Buffer {
  const { giver, receiver, level, at } = acceptance
  return fields('lichen-admin-acceptance/1', giver, receiver, String(level), String(at))
}

/** What one pool says another and it have done for each other; `rows` is the hash of all of it. */
export function statementBytes(said: {
  giver: string
  receiver: string
  since: number
  until: number
  rows: Buffer
}): Buffer {
  const { giver, receiver, since, until, rows } = said
  return fields('lichen-federation-statement/1', giver, receiver, String(since), String(until), rows)
}
