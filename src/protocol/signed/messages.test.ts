import { expect, test } from 'vitest'
import {
  alice,
  pool,
  sampleAssignment,
  sampleOrder,
  sampleTime,
  sampleWorkerStatement,
  signAlone,
} from '../../testkit/receipt-sample.ts'
import { decodeStrict, encode } from './dag-cbor.ts'
import type { SignedType } from './digest.ts'
import { decodeSigned, encodeSigned } from './envelope.ts'
import { encodeMessage, parseMessage, type SignedMessages } from './messages.ts'

const uuid = '018bcfe5-6800-7000-8000-000000000001'
const id = Buffer.alloc(32, 9)

const samples: { [T in Exclude<SignedType, 'pool-statement/1'>]: SignedMessages[T] } = {
  'order/1': sampleOrder(),
  'assignment/1': sampleAssignment(),
  'worker-statement/1': sampleWorkerStatement(alice),
  'commitment/1': { check: uuid, worker: id, commitment: id },
  'verdict/1': {
    job: uuid,
    receipt: id,
    check: 'replay',
    reason: 'sampled',
    verifier: null,
    outcome: 'clean',
    score: '0.153',
    epoch: 1,
    at: 2,
  },
  'grant/1': { pool: id, to: 'user:x', amount: 2n ** 60n, id: uuid, memo: 'hello', at: sampleTime },
  'transfer/1': { pool: id, from: 'user:x', to: 'user:y', amount: 5n, id: uuid, memo: '', expires: sampleTime },
  'move/1': {
    pool: id,
    kind: 'refund',
    from: 'pool',
    to: 'user:x',
    amount: 5n,
    id: uuid,
    worker: id,
    job: null,
    because: 'a tribunal',
    at: sampleTime,
  },
  'appeal/1': { pool: id, worker: id, id: uuid, statement: 'It was the file.', evidence: null, at: sampleTime },
}

const types = Object.keys(samples) as (keyof typeof samples)[]

test.each(types)('%s comes back from its wire form as it was sent', (type) => {
  const signed = signAlone(pool, type, samples[type])
  expect(decodeSigned(encodeSigned(signed), type)).toEqual({ ok: true, signed })
})

test.each(types)('%s with a member more, less or undefined is refused by its readers, and nobody signs it', (type) => {
  const { pool: _, ...message } = { ...samples[type], pool: id }
  for (const wrong of [{ ...samples[type], more: 1 }, Object.fromEntries(Object.entries(message).slice(1))]) {
    expect(parseMessage(type, wrong)).toMatchObject({ ok: false })
    expect(() => encodeMessage(type, wrong as never)).toThrow(TypeError)
  }
})

const wrongOrders: [string, object][] = [
  ['a hash of 31 bytes', { pool: Buffer.alloc(31) }],
  ['a negative cap', { cap: -1n }],
  ['a cap beyond 2^63', { cap: 2n ** 63n }],
  ['a fraction', { seq: 1.5 }],
  ['no seq under a payer', { seq: null }],
  ['a seq under a custodian', { custody: 'pool', job: uuid }],
  ['a custodian without a job', { custody: 'pool', seq: null }],
  ['an account longer than 200 characters', { account: 'x'.repeat(201) }],
  ['half a surrogate pair', { account: '\ud800' }],
  ['another way to write a job id', { job: uuid.toUpperCase() }],
  ['text for bytes', { payer: 'alice' }],
]

test.each(wrongOrders)('an order with %s is refused', (_, changes) => {
  expect(parseMessage('order/1', { ...samples['order/1'], ...changes })).toMatchObject({ ok: false })
})

test('the wire form is read strictly', () => {
  const signed = signAlone(alice, 'order/1', sampleOrder())
  const { key, sig } = signed.signature
  const wires = [
    encode([signed.bytes, key, sig, 0, 1]),
    encode([signed.bytes, key, sig, 0, 1, [], null]),
    encode([signed.bytes, key, sig, 0, 0, []]),
    encode([signed.bytes, key, sig, 0, 70_000, []]),
    encode([signed.bytes, key, sig, 0, 1, Array(17).fill(id)]),
    encode([signed.bytes, key, sig.subarray(1), 0, 1, []]),
    encode([Buffer.concat([signed.bytes, Buffer.of(0)]), key, sig, 0, 1, []]),
    Buffer.concat([encodeSigned(signed), Buffer.of(0)]),
    encode({}),
  ]
  for (const wire of wires) expect(decodeSigned(wire, 'order/1')).toMatchObject({ ok: false })
  expect(decodeSigned(encodeSigned(signed), 'grant/1')).toMatchObject({ ok: false })
})

test('amounts are the same bytes whether they came as number or bigint, and are bigints when read', () => {
  const bytes = encodeMessage('order/1', sampleOrder({ cap: 7n }))
  const decoded = decodeStrict(bytes)
  expect(decoded.ok && parseMessage('order/1', decoded.value)).toMatchObject({
    ok: true,
    message: { cap: 7n, prices: { prompt: 100n } },
  })
})
