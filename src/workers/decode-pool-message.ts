import {
  type DispatchHeader,
  dispatchSchema,
  messageType,
  protocolLimits,
  refusedSchema,
  welcomeSchema,
} from '#protocol'
import { decodeJson } from './decode-json.ts'
import { fromBase64 } from './from-base64.ts'
import { workersLimits } from './limits.ts'
import { type Decoded, malformed, type Papers, type PoolMessage } from './messages.ts'

const { controlMessageBytesMax } = workersLimits

/** Reads what a pool sent: type byte and body. The body of a dispatch is a view. */
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
    default:
      return malformed('pool', `has the unknown type ${type}`)
  }
}

function decodeDispatch(message: Buffer): Decoded<PoolMessage> {
  if (message.length < 4) return malformed('dispatch', 'is cut short')
  const headerBytes = message.readUInt32BE(0)
  if (headerBytes > message.length - 4) return malformed('dispatch', 'announces a longer header than it has')
  const header = decodeJson(
    'dispatch',
    dispatchSchema,
    message.subarray(4, 4 + headerBytes),
    protocolLimits.messageBytesMax,
  )
  if (!header.ok) return header
  const body = message.subarray(4 + headerBytes)
  if (body.length > protocolLimits.bodyBytesMax) return malformed('dispatch', 'carries too large a request')
  const papers = papersOf(header.message)
  if (!papers) return malformed('dispatch', 'has an assignment or an order that is not canonical base64')
  return { ok: true, message: { say: 'dispatch', header: header.message, papers, body } }
}

function papersOf(header: DispatchHeader): Papers | undefined {
  const assignment = fromBase64(header.assignment)
  const order = header.order === null ? null : fromBase64(header.order)
  return assignment && order !== undefined ? { assignment, salt: Buffer.from(header.salt, 'hex'), order } : undefined
}
