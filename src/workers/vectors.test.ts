import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { type CheckHeader, TokenBatch } from '#protocol'
import { decodePoolMessage } from './decode-pool-message.ts'
import { decodeWorkerMessage } from './decode-worker-message.ts'
import * as encode from './encode-message.ts'
import type { PoolMessage, WorkerMessage } from './messages.ts'
import { encodeTokens } from './tokens-codec.ts'

type Case = { name: string; type: number; body: string } & (
  | { valid: true; message: Record<string, unknown> }
  | { valid: false; why: string }
)

function vectors(file: string): Case[] {
  const folder = path.resolve(import.meta.dirname, '../../spec/vectors/worker-messages')
  return JSON.parse(readFileSync(path.join(folder, file), 'utf8')).cases
}

/** Bytes as hex, numbers as numbers: the form in which the vectors are written. */
function readable(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('hex')
  if (value instanceof TokenBatch) return readable([...value])
  if (value instanceof Float32Array) return [...value]
  if (Array.isArray(value)) return value.map(readable)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, readable(member)]))
}

const withoutBodyBytes = ({ bodyBytes: _, ...header }: CheckHeader) => header

/** The bytes we would send for it, for messages that have only one form. */
function bytesOf(message: WorkerMessage | PoolMessage): Buffer | undefined {
  switch (message.say) {
    case 'tokens':
      return message.tokens.detailed ? undefined : encodeTokens(message.stream, [...message.tokens])
    case 'end':
      return encode.encodeEnd(message)
    case 'vector':
      return encode.encodeVector(message.stream, message.index, message.values)
    case 'cancel':
      return encode.encodeCancel(message.stream)
    case 'credit':
      return encode.encodeCredit(message.stream, message.bytes)
    case 'dispatch':
      return Buffer.concat(encode.encodeDispatch(message.header, message.papers, message.body))
    case 'check':
      return Buffer.concat(encode.encodeCheck(withoutBodyBytes(message.header), message.body, message.tokens))
    case 'reveal':
    case 'withdraw':
      return encode.encodeCheckId(message.check)
    case 'offerModel':
      return encode.encodeOfferModel(message.model)
    case 'withdrawModel':
      return encode.encodeWithdrawModel(message.offer)
    case 'room':
      return encode.encodeRoom(message.room)
    case 'fetching':
      return encode.encodeFetching(message.offer, message.bytes)
    case 'fetched': {
      const { say: _, ...fetched } = message
      return encode.encodeFetched(fetched)
    }
    case 'calibrate':
      return encode.encodeCalibrate(message.calibrate)
    case 'committed':
      return encode.encodeCommitted(message.check, message.commitment)
    case 'evidence':
      return Buffer.concat(encode.encodeEvidenceMessage(message.check, message.nonce, message.evidence))
    default:
      return undefined
  }
}

describe.each([
  ['worker.json', decodeWorkerMessage],
  ['pool.json', decodePoolMessage],
])('the published messages of %s', (file, decode) => {
  test.each(vectors(file).map((one) => [one.name, one] as const))('%s', (_, one) => {
    const body = Buffer.from(one.body, 'hex')
    const decoded = decode(one.type, body)
    if (!one.valid) {
      expect(decoded).toMatchObject({ ok: false, refusal: { code: 'protocol_violation' } })
      return
    }
    expect(decoded.ok && readable(decoded.message)).toEqual(one.message)
    if (decoded.ok) expect(bytesOf(decoded.message) ?? body).toEqual(body)
  })
})
