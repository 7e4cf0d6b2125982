import type { z } from 'zod'
import {
  calibrateSchema,
  checkSchema,
  dispatchSchema,
  kernelSchema,
  messageType,
  modelOfferedSchema,
  protocolLimits,
  refusedSchema,
  TokenBatch,
  uuidOf,
  welcomeSchema,
} from '#protocol'
import { decodeJson } from './decode-json.ts'
import { workersLimits } from './limits.ts'
import { type Decoded, malformed, type PoolMessage, saltBytes } from './messages.ts'

const { controlMessageBytesMax } = workersLimits

/** Reads what a pool sent: type byte and body. The body of a dispatch, and body and pieces of a check, are views. */
export function decodePoolMessage(type: number, body: Buffer): Decoded<PoolMessage> {
  switch (type) {
    case messageType.dispatch:
      return decodeDispatch(body)
    case messageType.credit:
      if (body.length !== 8) return malformed('credit', 'is not 8 bytes long')
      return { ok: true, message: { say: 'credit', stream: body.readUInt32BE(0), bytes: body.readUInt32BE(4) } }
    case messageType.cancel:
      if (body.length !== 4) return malformed('cancel', 'is not 4 bytes long')
      return { ok: true, message: { say: 'cancel', stream: body.readUInt32BE(0) } }
    case messageType.ping:
      return body.length === 0 ? { ok: true, message: { say: 'ping' } } : malformed('ping', 'is not empty')
    case messageType.welcome: {
      const welcome = decodeJson('welcome', welcomeSchema, body, controlMessageBytesMax)
      return welcome.ok ? { ok: true, message: { say: 'welcome', welcome: welcome.message } } : welcome
    }
    case messageType.refused: {
      const refused = decodeJson('refused', refusedSchema, body, controlMessageBytesMax)
      return refused.ok ? { ok: true, message: { say: 'refused', refused: refused.message } } : refused
    }
    case messageType.check:
      return decodeCheck(body)
    case messageType.reveal:
      return decodeCheckId('reveal', body)
    case messageType.withdraw:
      return decodeCheckId('withdraw', body)
    case messageType.calibrate: {
      const calibrate = decodeJson('calibrate', calibrateSchema, body, controlMessageBytesMax)
      return calibrate.ok ? { ok: true, message: { say: 'calibrate', calibrate: calibrate.message } } : calibrate
    }
    case messageType.kernel: {
      const kernel = decodeJson('kernel', kernelSchema, body, controlMessageBytesMax)
      return kernel.ok ? { ok: true, message: { say: 'kernel', ...kernel.message } } : kernel
    }
    case messageType.offerModel: {
      const offered = decodeJson('offerModel', modelOfferedSchema, body, controlMessageBytesMax)
      return offered.ok ? { ok: true, message: { say: 'offerModel', model: offered.message } } : offered
    }
    case messageType.withdrawModel:
      return body.length === 16
        ? { ok: true, message: { say: 'withdrawModel', offer: uuidOf(body) } }
        : malformed('withdrawModel', 'is not 16 bytes long')
    default:
      return malformed('pool', `has the unknown type ${type}`)
  }
}

/** `u32 length ‖ header ‖ rest`. */
function decodeHeader<T>(what: string, schema: z.ZodType<T>, message: Buffer): Decoded<{ header: T; rest: Buffer }> {
  if (message.length < 4) return malformed(what, 'is cut short')
  const headerBytes = message.readUInt32BE(0)
  if (headerBytes > message.length - 4) return malformed(what, 'announces a longer header than it has')
  const headerAt = message.subarray(4, 4 + headerBytes)
  const header = decodeJson(what, schema, headerAt, protocolLimits.messageBytesMax)
  if (!header.ok) return header
  return { ok: true, message: { header: header.message, rest: message.subarray(4 + headerBytes) } }
}

function decodeCheck(message: Buffer): Decoded<PoolMessage> {
  const read = decodeHeader('check', checkSchema, message)
  if (!read.ok) return read
  const { header, rest } = read.message
  if (header.bodyBytes > rest.length) return malformed('check', 'announces a longer body than it has')
  const tokens = TokenBatch.read(rest.subarray(header.bodyBytes), workersLimits.checkTokensMax)
  if (!tokens) return malformed('check', 'has tokens that are cut short, or too many')
  return { ok: true, message: { say: 'check', header, body: rest.subarray(0, header.bodyBytes), tokens: [...tokens] } }
}

function decodeCheckId(say: 'reveal' | 'withdraw', body: Buffer): Decoded<PoolMessage> {
  return body.length === 16
    ? { ok: true, message: { say, check: uuidOf(body) } }
    : malformed(say, 'is not 16 bytes long')
}

function decodeDispatch(message: Buffer): Decoded<PoolMessage> {
  const read = decodeHeader('dispatch', dispatchSchema, message)
  if (!read.ok) return read
  const { header, rest } = read.message
  const assignment = paperAt(rest, saltBytes)
  const order = assignment && paperAt(rest, saltBytes + paperHeadBytes + assignment.length)
  if (!assignment || !order) return malformed('dispatch', 'has papers that are cut short or too long')
  const body = rest.subarray(saltBytes + 2 * paperHeadBytes + assignment.length + order.length)
  if (body.length > protocolLimits.bodyBytesMax) return malformed('dispatch', 'carries too large a request')
  const papers = { assignment, salt: rest.subarray(0, saltBytes), order: order.length === 0 ? null : order }
  return { ok: true, message: { say: 'dispatch', header, papers, body } }
}

/** `u16 length` before each paper. */
const paperHeadBytes = 2

/** The paper whose length stands at `at`; undefined when it is not all there, or longer than one may be. */
function paperAt(bytes: Buffer, at: number): Buffer | undefined {
  const start = at + paperHeadBytes
  if (bytes.length < start) return undefined
  const end = start + bytes.readUInt16BE(at)
  return end > bytes.length || end - start > protocolLimits.signedWireBytesMax ? undefined : bytes.subarray(start, end)
}
