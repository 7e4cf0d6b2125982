import { createCipheriv } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { protocolLimits } from '#protocol'
import { CipherState } from './cipher-state.ts'
import { transportLimits } from './limits.ts'
import { needsFragments, type OutgoingMessage, RecordReader, RecordWriter, type RekeyLimits } from './records.ts'

const key = Buffer.alloc(32, 0x5a)
const never = { rekeyRecords: 2 ** 20, rekeyBytes: 2 ** 30, rekeyMs: 120_000 }
const hex = (text: string) => Buffer.from(text, 'hex')
const read = (file: string) =>
  JSON.parse(readFileSync(new URL(`../../spec/vectors/records/${file}`, import.meta.url), 'utf8'))

function message(type: number, body: Buffer): OutgoingMessage {
  return { type, body: [body], length: 1 + body.length }
}

function wire(limits: RekeyLimits = never, receiveKey = key) {
  const heard: { type: number; body: Buffer }[] = []
  const writer = new RecordWriter(new CipherState(key), 0, limits)
  const reader = new RecordReader(new CipherState(receiveKey), (type, body) => heard.push({ type, body }))
  return { heard, writer, reader }
}

interface RecordCase {
  comment: string
  key: string
  records: string[]
  messages: { type: string; body: string }[]
}

describe('valid vectors', () => {
  test.each(read('valid.json') as RecordCase[])('$comment', ({ records, messages, ...vector }) => {
    const { heard, reader } = wire(never, hex(vector.key))
    for (const record of records) expect(reader.read(hex(record), 0)).toBeGreaterThan(0)
    expect(heard).toEqual(messages.map(({ type, body }) => ({ type: Number.parseInt(type, 16), body: hex(body) })))
  })
})

describe('invalid vectors', () => {
  test.each(read('invalid.json') as RecordCase[])('$comment', ({ records, ...vector }) => {
    const { heard, reader } = wire(never, hex(vector.key))
    for (const record of records.slice(0, -1)) expect(reader.read(hex(record), 0)).toBe(1)
    const before = heard.length
    expect(reader.read(hex(records.at(-1) ?? ''), 0)).toBeUndefined()
    expect(heard).toHaveLength(before)
  })
})

test('who keeps small messages keeps little more, however large the records they came in', () => {
  const { heard, writer, reader } = wire()
  for (let n = 0; n < 1_000; n++) {
    const messages = [message(1, Buffer.from('a token')), message(2, Buffer.alloc(64_000))]
    expect(reader.read(writer.writeWhole(messages, 0), 0)).toBe(2)
  }
  const kept = heard.filter(({ type }) => type === 1).map(({ body }) => body)
  expect(kept.every((body) => body.equals(Buffer.from('a token')))).toBe(true)
  const memory = [...new Set(kept.map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
  expect(memory).toBeLessThan(1_000_000)
})

test('whatever is sent, in whatever records and under however many keys, arrives once and in order', () => {
  const body = fc.oneof(
    { weight: 9, arbitrary: fc.uint8Array({ maxLength: 300 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(65_514, 65_515, 65_516, 65_517, 200_000).map((n) => new Uint8Array(n).fill(n)),
    },
  )
  const sent = fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), body), { minLength: 1, maxLength: 30 })
  fc.assert(
    fc.property(sent, fc.integer({ min: 1, max: 5 }), (messages, rekeyRecords) => {
      const { heard, writer, reader } = wire({ ...never, rekeyRecords })
      for (const [type, bytes] of messages) {
        const one = message(type, Buffer.from(bytes))
        const records = needsFragments(one) ? [...writer.writeFragments(one, 0)] : [writer.writeWhole([one], 0)]
        for (const record of records) {
          expect(record.length).toBeLessThanOrEqual(protocolLimits.frameBytesMax)
          expect(reader.read(record, 0)).toBe(1)
        }
      }
      expect(heard.map(({ type }) => type)).toEqual(messages.map(([type]) => type))
      expect(heard.every(({ body: got }, i) => got.equals(messages[i]?.[1] ?? Buffer.alloc(0)))).toBe(true)
    }),
    { numRuns: 100 },
  )
})

test('a message of 8 MiB passes, and one byte more is refused when it is announced', () => {
  const { heard, writer, reader } = wire()
  const long = message(9, Buffer.alloc(protocolLimits.messageBytesMax - 1, 'a'))
  for (const record of writer.writeFragments(long, 0)) expect(reader.read(record, 0)).toBe(1)
  expect(heard[0]?.body).toHaveLength(protocolLimits.messageBytesMax - 1)
  const [first] = writer.writeFragments(message(9, Buffer.alloc(protocolLimits.messageBytesMax)), 0)
  expect(reader.read(first ?? Buffer.alloc(0), 0)).toBeUndefined()
})

test('a sender takes a new key by count, by bytes and by age, and the receiver follows', () => {
  const small = message(1, Buffer.from('moin'))
  const turns: { limits: RekeyLimits; stepMs: number; underFirstKey: number }[] = [
    { limits: { ...never, rekeyRecords: 2 }, stepMs: 0, underFirstKey: 2 },
    { limits: { ...never, rekeyBytes: 10 }, stepMs: 0, underFirstKey: 2 },
    { limits: { ...never, rekeyMs: 100 }, stepMs: 60, underFirstKey: 3 },
  ]
  for (const { limits, stepMs, underFirstKey } of turns) {
    const { heard, writer, reader } = wire(limits)
    const firstKey = new CipherState(key)
    const records = Array.from({ length: 6 }, (_, i) => writer.writeWhole([small], i * stepMs))
    expect(records.filter((record) => firstKey.open(record))).toHaveLength(underFirstKey)
    for (const record of records) expect(reader.read(record, 0)).toBe(1)
    expect(heard).toHaveLength(6)
  }
})

test('REKEY is the first 32 bytes of ENCRYPT(k, 2^64 - 1, "", zeros), and the nonce goes on counting', () => {
  const last = Buffer.from('00000000ffffffffffffffff', 'hex')
  const state = new CipherState(key)
  state.seal(Buffer.from('a'))
  state.rekey()
  expect(state.nonce).toBe(1)
  const fresh = createCipheriv('chacha20-poly1305', key, last, { authTagLength: 16 }).update(Buffer.alloc(32))
  const expected = new CipherState(fresh, 1)
  expect(state.seal(Buffer.from('b'))).toEqual(expected.seal(Buffer.from('b')))
})

test('a replayed, a dropped, a reordered and a changed record end the session', () => {
  const tamper: [string, (records: Buffer[]) => Buffer[]][] = [
    ['replayed', ([a, b]) => [a, a, b] as Buffer[]],
    ['dropped', ([, b]) => [b] as Buffer[]],
    ['reordered', ([a, b]) => [b, a] as Buffer[]],
    ['cut', ([a, b]) => [a, b?.subarray(0, -1)] as Buffer[]],
    ['empty', ([a]) => [a, Buffer.alloc(0)] as Buffer[]],
  ]
  for (const [, change] of tamper) {
    const { writer, reader } = wire()
    const records = ['one', 'two'].map((text) => writer.writeWhole([message(1, Buffer.from(text))], 0))
    expect(change(records).map((record) => reader.read(record, 0))).toContain(undefined)
  }
})

test('a receiver refuses a record too many under one key', () => {
  const reader = new RecordReader(new CipherState(key), () => {}, 4)
  const cipher = new CipherState(key)
  const read = (flags: string) => reader.read(cipher.seal(hex(`${flags}000102`)), 0)
  expect(['00', '00', '00', '80'].map(read)).toEqual([1, 1, 1, 1])
  cipher.rekey()
  expect(['00', '00', '00', '00', '80'].map(read)).toEqual([1, 1, 1, 1, undefined])
})

test('a message that never ends is refused', () => {
  const { reader } = wire()
  const cipher = new CipherState(key)
  const whole = () => cipher.seal(hex('00000102'))
  expect(reader.read(cipher.seal(hex('01000000030901')), 1_000)).toBe(1)
  expect(reader.read(whole(), 1_000 + transportLimits.reassemblyMsMax)).toBe(1)
  expect(reader.read(whole(), 1_001 + transportLimits.reassemblyMsMax)).toBeUndefined()
})

test('a writer whose nonce ran out says so', () => {
  const { nonceMax } = transportLimits
  const writer = new RecordWriter(new CipherState(key, nonceMax - 1), 0)
  expect(writer.usable).toBe(true)
  const record = writer.writeWhole([message(1, Buffer.alloc(0))], 0)
  expect(writer.usable).toBe(false)
  expect(new CipherState(key, nonceMax - 1).open(record)).toEqual(hex('00000101'))
})

test('no bytes make a reader throw', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), (plaintexts) => {
      const { reader } = wire()
      const cipher = new CipherState(key)
      for (const plain of plaintexts) {
        const count = reader.read(cipher.seal(Buffer.from(plain)), 0)
        if (((plain[0] ?? 0) & 0x80) !== 0) cipher.rekey()
        if (count === undefined) return
      }
    }),
    { numRuns: 2_000 },
  )
})
