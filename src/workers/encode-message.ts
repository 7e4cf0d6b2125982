import type { z } from 'zod'
import {
  type Calibrate,
  type CheckHeader,
  type checkFailedSchema,
  type classSchema,
  type DispatchHeader,
  type failedSchema,
  type fetchedSchema,
  finishReasons,
  type Hello,
  type ModelOffered,
  type Refusal,
  type Room,
  type Token,
  TokenBatch,
  uuidBytes,
  type Welcome,
} from '#protocol'
import { type CommittedToken, type EndMessage, endHeadBytes, type Papers, saltBytes } from './messages.ts'

const json = (value: unknown) => Buffer.from(JSON.stringify(value))

/** Body of `hello` and `offer`. */
export const encodeHello = (hello: Hello): Buffer => json(hello)
export const encodeHeartbeat = (active: number): Buffer => json({ active })

/** `u32 stream ‖ u8 finish ‖ u32 prompt tokens ‖ u32 completion tokens ‖ statement`, which may be nothing. */
export function encodeEnd({
  stream,
  finish,
  promptTokens,
  completionTokens,
  statement,
}: Omit<EndMessage, 'say'>): Buffer {
  const body = Buffer.allocUnsafe(endHeadBytes + (statement?.length ?? 0))
  body.writeUInt32BE(stream, 0)
  body[4] = finishReasons.indexOf(finish)
  body.writeUInt32BE(promptTokens, 5)
  body.writeUInt32BE(completionTokens, 9)
  statement?.copy(body, endHeadBytes)
  return body
}

export const encodeWelcome = (welcome: Welcome): Buffer => json(welcome)

/** Cut to what the schema allows, without half a surrogate pair: a long sentence must not become a violation. */
const cut = (text: string, charsMax: number) => text.slice(0, charsMax).toWellFormed()

export function encodeFailed(failed: z.infer<typeof failedSchema>): Buffer {
  const { stream, retry, code, message, fix, param } = failed
  return json({
    stream,
    retry,
    code: cut(code, 60),
    message: cut(message, 1_000),
    fix: cut(fix, 1_000),
    param: param === null ? null : cut(param, 200),
  })
}

export function encodeRefused(refusal: Refusal): Buffer {
  return json({ code: refusal.code, message: cut(refusal.message, 1_000), fix: cut(refusal.fix, 1_000) })
}

/** Upstreams may cut a letter in two; the strict parser on the other side takes whole ones only. */
export function encodeDelta(stream: number, delta: Record<string, unknown>): Buffer {
  const wellFormed = (_key: string, value: unknown) => (typeof value === 'string' ? value.toWellFormed() : value)
  return Buffer.from(JSON.stringify({ stream, delta }, wellFormed))
}

/** JSON knows no infinity; −9,999 is what OpenAI's API gives for "practically never". */
const finite = (logprob: number) => (Number.isNaN(logprob) ? -9_999 : Math.min(0, Math.max(-9_999, logprob)))

/** Tokens with log probabilities; a token without one counts as certain. */
export function encodeTokenDetails(stream: number, tokens: readonly Token[]): Buffer {
  return json({
    stream,
    tokens: tokens.map((token) => ({
      id: token.id,
      piece: token.piece.toString('base64'),
      logprob: finite(token.logprob ?? 0),
      top: (token.top ?? []).map((other) => ({
        piece: other.piece.toString('base64'),
        logprob: finite(other.logprob),
      })),
    })),
  })
}

/** One embedding: `u32 stream ‖ u32 index`, then f32 little-endian. */
export function encodeVector(stream: number, index: number, values: Float32Array): Buffer {
  const body = Buffer.allocUnsafe(8 + 4 * values.length)
  body.writeUInt32BE(stream, 0)
  body.writeUInt32BE(index, 4)
  for (let i = 0; i < values.length; i++) body.writeFloatLE(values[i] ?? 0, 8 + 4 * i)
  return body
}

/**
 * `u32 header length ‖ header ‖ salt ‖ u16 length ‖ assignment ‖ u16 length ‖ order ‖ raw HTTP body`, in parts so that the body is not
 * copied. Without an order its length is 0.
 */
export function encodeDispatch(header: DispatchHeader, { assignment, salt, order }: Papers, body: Buffer): Buffer[] {
  const text = JSON.stringify(header)
  const textBytes = Buffer.byteLength(text)
  const head = Buffer.allocUnsafe(4 + textBytes + saltBytes + 2 + assignment.length + 2 + (order?.length ?? 0))
  let at = head.writeUInt32BE(textBytes, 0)
  at += head.write(text, at)
  at += salt.copy(head, at)
  at = head.writeUInt16BE(assignment.length, at)
  at += assignment.copy(head, at)
  at = head.writeUInt16BE(order?.length ?? 0, at)
  order?.copy(head, at)
  return [head, body]
}

function lengthOf(bytes: Buffer): Buffer {
  const length = Buffer.allocUnsafe(4)
  length.writeUInt32BE(bytes.length, 0)
  return length
}

/** `u32 header length ‖ header ‖ raw HTTP body ‖ tokens`, in parts so that the body is not copied. */
export function encodeCheck(
  header: Omit<CheckHeader, 'bodyBytes'>,
  body: Buffer,
  tokens: readonly CommittedToken[],
): Buffer[] {
  const text = json({ ...header, bodyBytes: body.length })
  return [lengthOf(text), text, body, TokenBatch.of(tokens).bytes]
}

export const encodeKernel = (model: string, kernel: string | null): Buffer => json({ model, kernel })
export const encodeCalibrate = (calibrate: Calibrate): Buffer => json(calibrate)
/** Body of `reveal` and `withdraw`. */
export const encodeCheckId = (check: string): Buffer => uuidBytes(check)
/** `commitment` is the signed message in wire form. */
export const encodeCommitted = (check: string, commitment: Buffer): Buffer =>
  json({ check, commitment: commitment.toString('base64') })
export const encodeEvidenceMessage = (check: string, nonce: Buffer, evidence: Buffer): Buffer[] => [
  uuidBytes(check),
  nonce,
  evidence,
]
export const encodeClass = (found: z.infer<typeof classSchema>): Buffer => json(found)

export function encodeCheckFailed({ check, code, message, fix }: z.infer<typeof checkFailedSchema>): Buffer {
  return json({ check, code: cut(code, 60), message: cut(message, 1_000), fix: cut(fix, 1_000) })
}

export const encodeOfferModel = (offered: ModelOffered): Buffer => json(offered)
export const encodeWithdrawModel = (offer: string): Buffer => uuidBytes(offer)
export const encodeRoom = (room: Room): Buffer => json(room)
export const encodeFetching = (offer: string, bytes: number): Buffer => json({ offer, bytes })

export function encodeFetched({ offer, code, message, fix }: z.infer<typeof fetchedSchema>): Buffer {
  return json({
    offer,
    code: code === null ? null : cut(code, 60),
    message: cut(message, 1_000),
    fix: cut(fix, 1_000),
  })
}

export function encodeCancel(stream: number): Buffer {
  const body = Buffer.allocUnsafe(4)
  body.writeUInt32BE(stream, 0)
  return body
}

/** `bytes` is at most 2^32 − 1. */
export function encodeCredit(stream: number, bytes: number): Buffer {
  const body = Buffer.allocUnsafe(8)
  body.writeUInt32BE(stream, 0)
  body.writeUInt32BE(bytes, 4)
  return body
}
