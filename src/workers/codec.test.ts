import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type DispatchHeader,
  type Hello,
  messageType,
  noTextId,
  protocolLimits,
  type Token,
  TokenBatch,
} from '#protocol'
import { decodePoolMessage } from './decode-pool-message.ts'
import { decodeWorkerMessage } from './decode-worker-message.ts'
import * as encode from './encode-message.ts'
import { workersLimits } from './limits.ts'
import { encodeTokens } from './tokens-codec.ts'

const hello: Hello = {
  agent: 'lichen/0.1.0',
  features: ['llama'],
  slots: 4,
  models: [
    { name: 'demo', digest: 'ab'.repeat(32), engine: 'llama', contextTokens: 2_048, features: ['chat', 'resume'] },
  ],
}
const papers = { assignment: Buffer.from('assignment'), salt: Buffer.alloc(32, 3), order: Buffer.from('an order') }
const header: DispatchHeader = {
  stream: 7,
  lease: 'a-lease',
  kind: 'chat',
  model: 'demo',
  digest: null,
  choice: 0,
  seed: '00'.repeat(32),
  maxTokens: 64,
  resume: [1, 2, 3],
  deadlineMs: 1_000,
  credit: 65_536,
}
const tokensOf = (decoded: ReturnType<typeof decodeWorkerMessage>) =>
  decoded.ok && decoded.message.say === 'tokens' ? [...decoded.message.tokens] : undefined
const joined = (parts: readonly Buffer[]) => Buffer.concat(parts)

describe('every message arrives as it was meant', () => {
  test('tokens of any bytes', () => {
    const token = fc.record({
      id: fc.integer({ min: 0, max: 0xffff_ffff }).filter((id) => id !== noTextId),
      piece: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    })
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), fc.array(token, { minLength: 1 }), (stream, tokens) => {
        const decoded = decodeWorkerMessage(messageType.tokens, encodeTokens(stream, tokens))
        expect(decoded).toEqual({ ok: true, message: { say: 'tokens', stream, tokens: expect.any(TokenBatch) } })
        expect(tokensOf(decoded)).toEqual(tokens)
      }),
    )
  })

  test('tokens with log probabilities; minus infinity becomes -9999', () => {
    const piece = Buffer.from([0xe2, 0x82])
    const tokens: Token[] = [{ id: 5, piece, logprob: -0.5, top: [{ piece, logprob: Number.NEGATIVE_INFINITY }] }]
    const decoded = decodeWorkerMessage(messageType.tokenDetails, encode.encodeTokenDetails(9, tokens))
    const read = [{ id: 5, piece, logprob: -0.5, top: [{ piece, logprob: -9_999 }] }]
    expect(decoded).toMatchObject({ ok: true, message: { say: 'tokens', stream: 9 } })
    expect(tokensOf(decoded)).toEqual(read)
  })

  test('vectors, to the last bit', () => {
    const values = Float32Array.of(0, -1.5, 3.4e38, 1e-45)
    const decoded = decodeWorkerMessage(messageType.vector, encode.encodeVector(3, 17, values))
    expect(decoded).toEqual({ ok: true, message: { say: 'vector', stream: 3, index: 17, values } })
  })

  test('what a worker says in JSON', () => {
    const end = { stream: 1, finish: 'stop', promptTokens: 3, completionTokens: 4, statement: Buffer.of(1, 2) } as const
    const unsigned = { ...end, statement: null }
    const failed = { stream: 1, retry: true, code: 'upstream_error', message: 'm', fix: 'f', param: null }
    const delta = { tool_calls: [{ index: 0, function: { arguments: '{}' } }] }
    const said: [number, Buffer, object][] = [
      [messageType.hello, encode.encodeHello(hello), { say: 'hello', hello }],
      [messageType.offer, encode.encodeHello(hello), { say: 'offer', hello }],
      [messageType.heartbeat, encode.encodeHeartbeat(3), { say: 'heartbeat', active: 3 }],
      [messageType.drain, Buffer.alloc(0), { say: 'drain' }],
      [messageType.delta, encode.encodeDelta(1, delta), { say: 'delta', stream: 1, delta }],
      [messageType.end, encode.encodeEnd(end), { say: 'end', ...end }],
      [messageType.end, encode.encodeEnd(unsigned), { say: 'end', ...unsigned }],
      [messageType.failed, encode.encodeFailed(failed), { say: 'failed', ...failed }],
    ]
    for (const [type, body, message] of said) expect(decodeWorkerMessage(type, body)).toEqual({ ok: true, message })
  })

  test('what a pool says', () => {
    const welcome = { standing: 'pending', worker: 'ab'.repeat(32), expiresAt: null, heartbeatMs: 5_000 } as const
    const refusal = { code: 'worker_revoked', message: 'm', fix: 'f' } as const
    const body = Buffer.from('{"model":"demo"}')
    const toOthers = { ...papers, order: null }
    const said: [number, Buffer, object][] = [
      [messageType.welcome, encode.encodeWelcome(welcome), { say: 'welcome', welcome }],
      [messageType.ping, Buffer.alloc(0), { say: 'ping' }],
      [messageType.refused, encode.encodeRefused(refusal), { say: 'refused', refused: refusal }],
      [
        messageType.dispatch,
        joined(encode.encodeDispatch(header, papers, body)),
        { say: 'dispatch', header, papers, body },
      ],
      [
        messageType.dispatch,
        joined(encode.encodeDispatch(header, toOthers, Buffer.alloc(0))),
        { say: 'dispatch', header, papers: toOthers, body: Buffer.alloc(0) },
      ],
      [messageType.cancel, encode.encodeCancel(7), { say: 'cancel', stream: 7 }],
      [messageType.credit, encode.encodeCredit(7, 99), { say: 'credit', stream: 7, bytes: 99 }],
    ]
    for (const [type, bytes, message] of said) expect(decodePoolMessage(type, bytes)).toEqual({ ok: true, message })
  })

  test('a sentence too long for the protocol is cut, not refused, and never in the middle of a letter', () => {
    const long = `${'x'.repeat(999)}🍄`
    const failed = { stream: 1, retry: false, code: 'c', message: long, fix: long, param: long }
    expect(decodeWorkerMessage(messageType.failed, encode.encodeFailed(failed)).ok).toBe(true)
    const delta = encode.encodeDelta(1, { content: '\ud83c' })
    expect(decodeWorkerMessage(messageType.delta, delta).ok).toBe(true)
  })
})

/** A dispatch without a body that ends anywhere in its papers. */
function papersCutShort(): Buffer[] {
  const whole = joined(encode.encodeDispatch(header, papers, Buffer.alloc(0)))
  const { assignment, salt, order } = papers
  const bytes = salt.length + assignment.length + order.length + 4
  return Array.from({ length: bytes }, (_, n) => whole.subarray(0, whole.length - bytes + n))
}

const unsignedEnd = { stream: 1, finish: 'stop', promptTokens: 3, completionTokens: 4, statement: null } as const

describe('what is no message is refused and nothing is thrown', () => {
  const wrongForWorker: [string, number, Buffer][] = [
    ['an unknown type', 0x7f, Buffer.alloc(0)],
    ['a type only pools may use', messageType.dispatch, Buffer.alloc(0)],
    ['tokens without a token', messageType.tokens, Buffer.alloc(4)],
    ['tokens cut short', messageType.tokens, encodeTokens(1, [{ id: 1, piece: Buffer.from('abc') }]).subarray(0, -1)],
    [
      'tokens with a tail',
      messageType.tokens,
      Buffer.concat([encodeTokens(1, [{ id: 1, piece: Buffer.alloc(0) }]), Buffer.of(0)]),
    ],
    ['too long tokens', messageType.tokens, Buffer.alloc(workersLimits.streamMessageBytesMax + 1)],
    ['a drain with a body', messageType.drain, Buffer.of(1)],
    ['an empty vector', messageType.vector, Buffer.alloc(8)],
    ['a vector with a half number', messageType.vector, Buffer.alloc(14)],
    ['a vector of NaN', messageType.vector, encode.encodeVector(1, 0, Float32Array.of(Number.NaN))],
    ['a vector no request asked for', messageType.vector, encode.encodeVector(1, 2_048, Float32Array.of(1))],
    ['a hello with an unknown field', messageType.hello, Buffer.from(JSON.stringify({ ...hello, extra: 1 }))],
    ['one name twice', messageType.hello, encode.encodeHello({ ...hello, models: [...hello.models, ...hello.models] })],
    ['a field twice', messageType.heartbeat, Buffer.from('{"active":1,"active":2}')],
    ['a negative number', messageType.heartbeat, Buffer.from('{"active":-1}')],
    ['no JSON', messageType.failed, Buffer.from('failed')],
    ['an end cut short', messageType.end, encode.encodeEnd(unsignedEnd).subarray(0, -1)],
    ['an unknown end', messageType.end, Buffer.concat([Buffer.alloc(4), Buffer.of(4), Buffer.alloc(8)])],
    [
      'an end with too long a statement',
      messageType.end,
      encode.encodeEnd({ ...unsignedEnd, statement: Buffer.alloc(protocolLimits.signedWireBytesMax + 1) }),
    ],
    [
      'base64 that is not canonical',
      messageType.tokenDetails,
      Buffer.from('{"stream":1,"tokens":[{"id":1,"piece":"YQ=","logprob":0,"top":[]}]}'),
    ],
    ['details of nothing', messageType.tokenDetails, Buffer.from('{"stream":1,"tokens":[]}')],
  ]
  test.each(wrongForWorker)('from a worker: %s', (_, type, body) => {
    expect(decodeWorkerMessage(type, body)).toMatchObject({ ok: false, refusal: { code: 'protocol_violation' } })
  })

  const wrongForPool: [string, number, Buffer][] = [
    ['an unknown type', 0xff, Buffer.alloc(0)],
    ['a dispatch without a header', messageType.dispatch, Buffer.alloc(3)],
    ['a header longer than the message', messageType.dispatch, Buffer.from([0, 0, 0, 9, 0x7b])],
    ...papersCutShort().map((body): [string, number, Buffer] => ['papers cut short', messageType.dispatch, body]),
    [
      'too long an order',
      messageType.dispatch,
      joined(
        encode.encodeDispatch(
          header,
          { ...papers, order: Buffer.alloc(protocolLimits.signedWireBytesMax + 1) },
          Buffer.alloc(0),
        ),
      ),
    ],
    ['a short credit', messageType.credit, Buffer.alloc(7)],
    ['a long cancel', messageType.cancel, Buffer.alloc(5)],
    ['a ping with a body', messageType.ping, Buffer.of(1)],
    [
      'too large a request',
      messageType.dispatch,
      joined(encode.encodeDispatch(header, papers, Buffer.alloc(protocolLimits.bodyBytesMax + 1))),
    ],
  ]
  test.each(wrongForPool)('from a pool: %s', (_, type, body) => {
    expect(decodePoolMessage(type, body)).toMatchObject({ ok: false, refusal: { code: 'protocol_violation' } })
  })

  test('any bytes under any type', () => {
    const types = fc.constantFrom(...Object.values(messageType), 0x00, 0x40, 0xff)
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
        const body = Buffer.from(bytes)
        for (const decode of [decodeWorkerMessage, decodePoolMessage]) {
          const decoded = decode(type, body)
          if (!decoded.ok) expect(decoded.refusal.code).toBe('protocol_violation')
        }
      }),
      { numRuns: 2_000 },
    )
  })

  test('a real message with one bit turned', () => {
    const real: [number, Buffer][] = [
      [messageType.hello, encode.encodeHello(hello)],
      [messageType.dispatch, joined(encode.encodeDispatch(header, papers, Buffer.from('{}')))],
      [messageType.tokens, encodeTokens(1, [{ id: 1, piece: Buffer.from('abc') }])],
      [
        messageType.end,
        encode.encodeEnd({ stream: 1, finish: 'stop', promptTokens: 1, completionTokens: 1, statement: Buffer.of(7) }),
      ],
    ]
    fc.assert(
      fc.property(fc.constantFrom(...real), fc.nat(), fc.nat(7), ([type, body], at, bit) => {
        const turned = Buffer.from(body)
        turned[at % body.length] = (turned[at % body.length] ?? 0) ^ (1 << bit)
        expect(() => [decodeWorkerMessage(type, turned), decodePoolMessage(type, turned)]).not.toThrow()
      }),
      { numRuns: 2_000 },
    )
  })
})
