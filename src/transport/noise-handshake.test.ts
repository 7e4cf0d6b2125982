import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type DhKey, dhKeyFromSeed, identityFromSeed } from '#crypto'
import { transportOps } from './conformance.ts'
import { prologue } from './handshake-frames.ts'
import { NoiseError, NoiseHandshake } from './noise-handshake.ts'
import { readSessionPayload, writePoolPayload, writeWorkerPayload } from './session-payload.ts'

const read = (file: string) =>
  JSON.parse(readFileSync(new URL(`../../spec/vectors/noise/${file}`, import.meta.url), 'utf8'))
const hex = (text: string) => Buffer.from(text, 'hex')

interface PublishedCase {
  protocol_name: string
  init_prologue: string
  init_static: string
  init_ephemeral: string
  resp_static: string
  resp_ephemeral: string
  handshake_hash: string
  messages: { payload: string; ciphertext: string }[]
}

describe('published vectors', () => {
  const cases: PublishedCase[] = read('cacophony.json').vectors

  test.each(cases)('$protocol_name', ({ init_prologue, messages, handshake_hash, ...published }) => {
    const { init_static, init_ephemeral, resp_static, resp_ephemeral } = published
    const answer = transportOps['noise.handshake']?.({
      prologue: init_prologue,
      init_static,
      init_ephemeral,
      resp_static,
      resp_ephemeral,
      payloads: messages.map(({ payload }) => payload),
    })
    const ciphertexts = messages.map(({ ciphertext }) => ciphertext)
    expect(answer).toEqual({ ok: true, output: { messages: ciphertexts, handshake_hash } })
  })
})

interface SessionCase {
  pool_seed: string
  pool_static: string
  pool_ephemeral: string
  worker_seed: string
  worker_static: string
  worker_ephemeral: string
  token: string
  pool_id: string
  prologue: string
  payloads: string[]
  messages: string[]
  handshake_hash: string
}

test.each(read('session.json') as SessionCase[])(
  'the session of spec/worker.md §1 comes out byte for byte',
  (session) => {
    const pool = identityFromSeed(hex(session.pool_seed))
    const worker = identityFromSeed(hex(session.worker_seed))
    expect(pool.id).toBe(session.pool_id)
    expect(prologue(pool.id).toString('hex')).toBe(session.prologue)
    const ours = side(true, hex(session.prologue), session.worker_static, session.worker_ephemeral)
    const theirs = side(false, hex(session.prologue), session.pool_static, session.pool_ephemeral)

    const first = ours.write(() => Buffer.alloc(0))
    theirs.read(first)
    const second = theirs.write((hash) => writePoolPayload(pool, hash))
    const proof = readSessionPayload('pool', ours.read(second), ours.hashBeforePayload)
    const third = ours.write((hash) => writeWorkerPayload(worker, hash, hex(session.token)))
    const payload = theirs.read(third)
    const claim = readSessionPayload('worker', payload, theirs.hashBeforePayload)

    expect([first, second, third].map((message) => message.toString('hex'))).toEqual(session.messages)
    expect([first, second].map(({ length }) => length)).toEqual([32, 192])
    expect(proof).toEqual({ publicKey: pool.publicKey })
    const token = session.token ? { token: hex(session.token) } : {}
    expect(claim).toEqual({ publicKey: worker.publicKey, ...token })
    expect(payload.toString('hex')).toBe(session.payloads[2])
    expect(theirs.finish().handshakeHash.toString('hex')).toBe(session.handshake_hash)
  },
)

function side(initiator: boolean, prologueBytes: Buffer, staticSeed: string, ephemeralSeed: string): NoiseHandshake {
  const key = (seed: string): DhKey => dhKeyFromSeed(hex(seed))
  return new NoiseHandshake({
    initiator,
    prologue: prologueBytes,
    staticKey: key(staticSeed),
    ephemeralKey: key(ephemeralSeed),
  })
}

const nothing = () => Buffer.alloc(0)
const pair = (prologues: [string, string] = ['a', 'a']) =>
  [
    side(true, Buffer.from(prologues[0]), '01'.repeat(32), '02'.repeat(32)),
    side(false, Buffer.from(prologues[1]), '03'.repeat(32), '04'.repeat(32)),
  ] as const

test('another prologue, which is another pool or version, does not authenticate', () => {
  const [worker, pool] = pair(['pool a', 'pool b'])
  pool.read(worker.write(nothing))
  expect(() => worker.read(pool.write(nothing))).toThrow(NoiseError)
})

test('every flipped bit of messages 2 and 3 is noticed', () => {
  const [worker, pool] = pair()
  pool.read(worker.write(nothing))
  const second = pool.write(nothing)
  for (let bit = 0; bit < second.length * 8; bit += 7) {
    const [again] = pair()
    again.write(nothing)
    expect(() => again.read(flipped(second, bit))).toThrow(NoiseError)
  }
  worker.read(second)
  const third = worker.write(nothing)
  for (let bit = 0; bit < third.length * 8; bit += 7) {
    const [, again] = pair()
    again.read(Buffer.from(dhKeyFromSeed(hex('02'.repeat(32))).publicKey))
    again.write(nothing)
    expect(() => again.read(flipped(third, bit))).toThrow(NoiseError)
  }
})

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}

test.each([0, 31])('a first message of %i bytes is refused', (length) => {
  const [, pool] = pair()
  expect(() => pool.read(Buffer.alloc(length, 9))).toThrow(NoiseError)
})

test.each(['00'.repeat(32), `01${'00'.repeat(31)}`, `ec${'ff'.repeat(30)}7f`])(
  'the small-order ephemeral key %s is refused',
  (key) => {
    const [, pool] = pair()
    pool.read(hex(key))
    expect(() => pool.write(nothing)).toThrow('small order')
  },
)

test('a side speaks only in its turn, and has no keys before the end', () => {
  const [worker, pool] = pair()
  expect(() => pool.write(nothing)).toThrow('turn')
  expect(() => worker.finish()).toThrow('not ended')
  pool.read(worker.write(nothing))
  expect(() => pool.read(Buffer.alloc(32))).toThrow('turn')
})

test('a payload of another length, a foreign signature or the other role is no proof', () => {
  const identity = identityFromSeed(Buffer.alloc(32, 5))
  const hash = Buffer.alloc(32, 6)
  const good = writeWorkerPayload(identity, hash, Buffer.from('token'))
  expect(readSessionPayload('worker', good, hash)?.token?.toString()).toBe('token')
  expect(readSessionPayload('worker', good, Buffer.alloc(32, 7))).toBeUndefined()
  expect(readSessionPayload('pool', good, hash)).toBeUndefined()
  expect(readSessionPayload('pool', good.subarray(0, 96), hash)).toBeUndefined()
  expect(readSessionPayload('worker', good.subarray(0, -1), hash)).toBeUndefined()
  expect(readSessionPayload('worker', Buffer.concat([good, Buffer.of(0)]), hash)).toBeUndefined()
  expect(readSessionPayload('worker', Buffer.alloc(0), hash)).toBeUndefined()
  expect(() => writeWorkerPayload(identity, hash, Buffer.alloc(65))).toThrow(RangeError)
})

test('the conformance operation refuses what is no handshake', () => {
  const key = '01'.repeat(32)
  const good = { prologue: '', init_static: key, init_ephemeral: key, resp_static: key, resp_ephemeral: key }
  const op = transportOps['noise.handshake']
  expect(op?.({ ...good, payloads: ['', '', ''] })).toMatchObject({ ok: true })
  expect(op?.({ ...good, payloads: ['', ''] })).toMatchObject({ error: { code: 'invalid_input' } })
  expect(op?.({ ...good, init_static: 'aa', payloads: ['', '', ''] })).toMatchObject({
    error: { code: 'invalid_input' },
  })
})
