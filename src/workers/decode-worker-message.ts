import type { z } from 'zod'
import {
  checkFailedSchema,
  classSchema,
  committedSchema,
  deltaSchema,
  failedSchema,
  fetchedSchema,
  fetchingSchema,
  finishReasons,
  heartbeatSchema,
  helloSchema,
  messageType,
  noTextId,
  protocolLimits,
  roomSchema,
  type Token,
  TokenBatch,
  tokenDetailsSchema,
  uuidOf,
} from '#protocol'
import { decodeJson } from './decode-json.ts'
import { fromBase64 } from './from-base64.ts'
import { workersLimits } from './limits.ts'
import { type Decoded, endHeadBytes, malformed, type WorkerMessage } from './messages.ts'
import { decodeTokens } from './tokens-codec.ts'

const { controlMessageBytesMax, streamMessageBytesMax } = workersLimits

/** Reads what a worker sent: type byte and body. Pieces, vectors and statements may be views of `body`. */
export function decodeWorkerMessage(type: number, body: Buffer): Decoded<WorkerMessage> {
  switch (type) {
    case messageType.tokens:
      return decodePlainTokens(body)
    case messageType.tokenDetails:
      return decodeTokenDetails(body)
    case messageType.end:
      return decodeEnd(body)
    case messageType.heartbeat: {
      const beat = decodeJson('heartbeat', heartbeatSchema, body, controlMessageBytesMax)
      return beat.ok ? { ok: true, message: { say: 'heartbeat', ...beat.message } } : beat
    }
    case messageType.hello:
      return decodeHello('hello', body)
    case messageType.offer:
      return decodeHello('offer', body)
    case messageType.drain:
      return body.length === 0 ? { ok: true, message: { say: 'drain' } } : malformed('drain', 'is not empty')
    case messageType.room: {
      const room = decodeJson('room', roomSchema, body, controlMessageBytesMax)
      return room.ok ? { ok: true, message: { say: 'room', room: room.message } } : room
    }
    case messageType.fetching: {
      const fetching = decodeJson('fetching', fetchingSchema, body, controlMessageBytesMax)
      return fetching.ok ? { ok: true, message: { say: 'fetching', ...fetching.message } } : fetching
    }
    case messageType.fetched: {
      const fetched = decodeJson('fetched', fetchedSchema, body, controlMessageBytesMax)
      return fetched.ok ? { ok: true, message: { say: 'fetched', ...fetched.message } } : fetched
    }
    case messageType.delta: {
      const delta = decodeJson('delta', deltaSchema, body, streamMessageBytesMax)
      return delta.ok ? { ok: true, message: { say: 'delta', ...delta.message } } : delta
    }
    case messageType.vector:
      return decodeVector(body)
    case messageType.failed: {
      const failed = decodeJson('failed', failedSchema, body, controlMessageBytesMax)
      return failed.ok ? { ok: true, message: { say: 'failed', ...failed.message } } : failed
    }
    case messageType.committed: {
      const committed = decodeJson('committed', committedSchema, body, controlMessageBytesMax)
      if (!committed.ok) return committed
      const commitment = fromBase64(committed.message.commitment)
      if (!commitment) return malformed('committed', 'has a commitment that is not canonical base64')
      return { ok: true, message: { say: 'committed', check: committed.message.check, commitment } }
    }
    case messageType.evidence:
      return decodeEvidenceMessage(body)
    case messageType.class: {
      const found = decodeJson('class', classSchema, body, controlMessageBytesMax)
      return found.ok ? { ok: true, message: { say: 'class', ...found.message } } : found
    }
    case messageType.checkFailed: {
      const failed = decodeJson('checkFailed', checkFailedSchema, body, controlMessageBytesMax)
      return failed.ok ? { ok: true, message: { say: 'checkFailed', ...failed.message } } : failed
    }
    default:
      return malformed('worker', `has the unknown type ${type}`)
  }
}

function decodePlainTokens(body: Buffer): Decoded<WorkerMessage> {
  if (body.length > streamMessageBytesMax) return malformed('tokens', `is longer than ${streamMessageBytesMax} bytes`)
  const decoded = decodeTokens(body)
  if (!decoded) return malformed('tokens', 'is cut short, holds no token, or one with an id that no token has')
  return { ok: true, message: { say: 'tokens', stream: decoded.stream, tokens: decoded.tokens } }
}

function decodeEnd(body: Buffer): Decoded<WorkerMessage> {
  if (body.length < endHeadBytes) return malformed('end', 'is cut short')
  const finish = finishReasons[body[4] as number]
  if (finish === undefined) return malformed('end', 'ends for an unknown reason')
  if (body.length - endHeadBytes > protocolLimits.signedWireBytesMax)
    return malformed('end', `has a statement of more than ${protocolLimits.signedWireBytesMax} bytes`)
  const claims = { promptTokens: body.readUInt32BE(5), completionTokens: body.readUInt32BE(9) }
  const statement = body.length === endHeadBytes ? null : body.subarray(endHeadBytes)
  return { ok: true, message: { say: 'end', stream: body.readUInt32BE(0), finish, ...claims, statement } }
}

function decodeHello(say: 'hello' | 'offer', body: Buffer): Decoded<WorkerMessage> {
  const hello = decodeJson(say, helloSchema, body, controlMessageBytesMax)
  if (!hello.ok) return hello
  const names = new Set(hello.message.models.map((model) => model.name))
  if (names.size < hello.message.models.length) return malformed(say, 'offers one model name twice')
  return { ok: true, message: { say, hello: hello.message } }
}

function decodeTokenDetails(body: Buffer): Decoded<WorkerMessage> {
  const details = decodeJson('tokenDetails', tokenDetailsSchema, body, streamMessageBytesMax)
  if (!details.ok) return details
  const { stream, tokens } = details.message
  if (tokens.length === 0) return malformed('tokenDetails', 'holds no token')
  const read: Token[] = []
  for (const token of tokens) {
    const detailed = toToken(token)
    if (!detailed) return malformed('tokenDetails', 'has a piece that is not canonical base64')
    if (detailed.id === noTextId) return malformed('tokenDetails', 'has an id that no token has')
    read.push(detailed)
  }
  return { ok: true, message: { say: 'tokens', stream, tokens: TokenBatch.of(read) } }
}

function toToken(wire: z.infer<typeof tokenDetailsSchema>['tokens'][number]): Token | undefined {
  const piece = fromBase64(wire.piece)
  if (!piece) return undefined
  const top = []
  for (const other of wire.top) {
    const otherPiece = fromBase64(other.piece)
    if (!otherPiece) return undefined
    top.push({ piece: otherPiece, logprob: other.logprob })
  }
  return { id: wire.id, piece, logprob: wire.logprob, top }
}

function decodeVector(body: Buffer): Decoded<WorkerMessage> {
  const count = (body.length - 8) / 4
  if (body.length > streamMessageBytesMax) return malformed('vector', `is longer than ${streamMessageBytesMax} bytes`)
  if (!Number.isInteger(count) || count < 1) return malformed('vector', 'is cut short or empty')
  const stream = body.readUInt32BE(0)
  const index = body.readUInt32BE(4)
  if (index >= protocolLimits.embeddingInputsMax) return malformed('vector', 'has an index no request can have')
  const values = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    const value = body.readFloatLE(8 + 4 * i)
    if (!Number.isFinite(value)) return malformed('vector', 'holds a value that is not a finite number')
    values[i] = value
  }
  return { ok: true, message: { say: 'vector', stream, index, values } }
}

/** The evidence itself is read when it is known to open its commitment. */
function decodeEvidenceMessage(body: Buffer): Decoded<WorkerMessage> {
  const [nonceAt, evidenceAt] = [16, 48]
  if (body.length <= evidenceAt) return malformed('evidence', 'is cut short')
  const evidence = body.subarray(evidenceAt)
  if (evidence.length > protocolLimits.evidenceBytesMax) return malformed('evidence', 'is too long')
  const check = uuidOf(body.subarray(0, nonceAt))
  return { ok: true, message: { say: 'evidence', check, nonce: body.subarray(nonceAt, evidenceAt), evidence } }
}
