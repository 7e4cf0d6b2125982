import fc from 'fast-check'
import { expect, test } from 'vitest'
import { alice, sampleAssignment, sampleOrder, sampleWorkerStatement } from '../../testkit/receipt-sample.ts'
import { assuranceLevels } from '../assurance.ts'
import { decodeStrict, encode } from './dag-cbor.ts'
import { encodeByteStrings, hotMessages, readHot, wireShape } from './hot-messages.ts'
import { encodeOwnMessage, parseMessage, type SignedMessages } from './messages.ts'
import { integer, readShape, writeShape } from './shape.ts'

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((b) => Buffer.from(b))
const b32 = bytes(32)
const maybe = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: null })
/** Around every length at which an integer's encoding changes. */
const edges = [0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]
const count = fc.oneof(fc.constantFrom(...edges), fc.nat(), fc.maxSafeNat())
const amount = fc.oneof(
  fc.constantFrom(...edges.map(BigInt), 2n ** 53n, 2n ** 63n - 1n),
  fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
)
const text = (max: number) =>
  fc.oneof(
    fc.string({ maxLength: max }),
    fc.string({ unit: 'grapheme', maxLength: max >> 4 }),
    fc.constant('x'.repeat(max)),
  )
const kind = fc.constantFrom('chat' as const, 'completion' as const, 'embedding' as const)
const model = text(200)
const prices = fc.record({ prompt: amount, completion: amount })
const usage = fc.record({ prompt: count, completion: count })
const uuid = fc.uuid()
const decode = fc.constantFrom('batched' as const, 'isolated' as const)

const order = fc.record({
  pool: b32,
  payer: b32,
  custody: fc.constant('pool' as const),
  account: text(200),
  job: uuid,
  seq: fc.constant(null),
  kind,
  model,
  digest: maybe(b32),
  cap: amount,
  prices,
  assurance: fc.constantFrom(...assuranceLevels),
  expires: count,
  commitment: b32,
})
const assignment = fc.record({
  order: b32,
  pool: b32,
  worker: b32,
  attempt: count,
  choice: fc.nat({ max: 16 }),
  kind,
  model,
  digest: maybe(b32),
  commitment: b32,
  prefix: maybe(b32),
  prefixTokens: count,
  seed: b32,
  maxTokens: count,
  cap: amount,
  prices,
  decode,
  epoch: count,
  expires: count,
  pseudonym: bytes(16),
})
const workerStatement = fc.record({
  assignment: b32,
  worker: b32,
  sent: b32,
  tokens: count,
  usage,
  model,
  digest: maybe(b32),
  kernel: maybe(text(200)),
  decode,
  sampler: fc.constantFrom('sampler/1' as const, 'native' as const, 'upstream' as const),
  finish: text(40),
  prefix: maybe(b32),
})
const poolStatement = fc.record({
  pool: b32,
  job: uuid,
  order: b32,
  custody: fc.constantFrom('pool' as const, 'payer' as const),
  kind,
  model,
  digest: maybe(b32),
  state: fc.constantFrom('completed' as const, 'cancelled' as const, 'failed' as const, 'expired' as const),
  statements: fc.array(b32, { maxLength: 30 }),
  segments: fc.array(fc.record({ choice: count, attempt: count, worker: b32, tokens: count, signed: fc.boolean() }), {
    maxLength: 30,
  }),
  response: maybe(b32),
  usage,
  price: amount,
  transfer: maybe(uuid),
  prices,
  exposure: fc.array(b32, { maxLength: 30 }),
  assurance: fc.record({ asked: text(40), given: text(40), reason: maybe(text(200)) }),
  evidence: fc.constantFrom('none' as const, 'weak' as const, 'margin' as const, 'exact' as const),
  commitment: b32,
  epoch: count,
  acceptedAt: count,
  endedAt: count,
})

const arbitraries: { readonly [T in keyof typeof hotMessages]-?: fc.Arbitrary<unknown> } = {
  'order/1': order,
  'assignment/1': assignment,
  'worker-statement/1': workerStatement,
  'pool-statement/1': poolStatement,
} as never

const types = Object.keys(hotMessages) as (keyof typeof hotMessages)[]

test.each(types)('%s is written as the careful encoder writes it', (type) => {
  fc.assert(
    fc.property(arbitraries[type], (message) => {
      expect(encodeOwnMessage(type, message as never).toString('hex')).toBe(encode(message).toString('hex'))
    }),
    { numRuns: 300 },
  )
})

const samples = {
  'assignment/1': sampleAssignment(),
  'worker-statement/1': sampleWorkerStatement(alice),
}
const read = ['assignment/1', 'worker-statement/1'] as const

/** What the careful reader makes of the bytes; undefined: it refuses them. */
function carefully<T extends keyof SignedMessages>(type: T, encoded: Buffer): SignedMessages[T] | undefined {
  const decoded = decodeStrict(encoded)
  const parsed = decoded.ok ? parseMessage(type, decoded.value) : decoded
  return parsed.ok ? parsed.message : undefined
}

test.each(read)('%s in ASCII is read quickly, and as the careful reader reads it', (type) => {
  fc.assert(
    fc.property(arbitraries[type], (message) => {
      const encoded = encode(message)
      const quick = readHot(type, encoded)
      if (quick) expect(quick).toEqual(carefully(type, encoded))
      else expect(encoded.toString('latin1')).toMatch(/[\x80-\xff]/)
    }),
    { numRuns: 300 },
  )
  expect(readHot(type, encode(samples[type]))).toEqual(samples[type])
})

test.each(read)('nothing but the one encoding of %s is read quickly', (type) => {
  const good = encode(samples[type])
  fc.assert(
    fc.property(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 }), fc.nat({ max: 2 }), (place, byte, how) => {
      const [before, after] = [good.subarray(0, place), good.subarray(place + (how === 1 ? 0 : 1))]
      const bad = Buffer.concat([before, how === 2 ? Buffer.alloc(0) : Buffer.of(byte), after])
      const quick = readHot(type, bad)
      if (quick) expect(quick).toEqual(carefully(type, bad))
    }),
    { numRuns: 5_000 },
  )
})

test.each([
  ['a length of its own making', '9f01ff'],
  ['a long way to write a short integer', '8618 0540'],
])('the quick reader leaves %s to the careful one', (_, hex) => {
  expect(readShape(wireShape, Buffer.from(hex.replaceAll(' ', ''), 'hex'))).toBeUndefined()
})

test('what no encoding says is not written', () => {
  const wrong: object[] = [
    { cap: -1n },
    { cap: 2n ** 63n },
    { expires: 0.5 },
    { pool: Buffer.alloc(31) },
    { kind: undefined },
  ]
  for (const changes of wrong) {
    expect(() => encodeOwnMessage('order/1', { ...sampleOrder(), ...changes } as never)).toThrow()
  }
})

test('lists of byte strings and integers of 64 bits have the careful encoding too', () => {
  const wires = [Buffer.alloc(0), Buffer.alloc(70_000, 1), Buffer.alloc(300, 2)]
  expect(encodeByteStrings(wires)).toEqual(encode(wires))
  for (const value of [-1, -24, -25, -(2n ** 63n), 2n ** 64n - 1n, 5n, 2 ** 40]) {
    expect(writeShape(integer, value)).toEqual(encode(value))
  }
  expect(readShape(integer, encode(-300))).toBe(-300)
})
