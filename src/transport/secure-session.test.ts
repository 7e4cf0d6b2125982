import { describe, expect, test, vi } from 'vitest'
import { generateIdentity } from '#crypto'
import { type Runtime, systemRuntime } from '#runtime'
import { ending, joined, knockByHand, openDoor, relay, sessionEnd, strangerSocket } from '../testkit/knocking.ts'
import { CipherState } from './cipher-state.ts'
import { RecordReader } from './records.ts'
import type { SecureSession } from './secure-session.ts'
import { writeWorkerPayload } from './session-payload.ts'

/** Resolves with the first `count` messages a session hears. */
function hear(session: SecureSession, count: number): Promise<{ type: number; body: Buffer }[]> {
  const heard: { type: number; body: Buffer }[] = []
  return new Promise((resolve) => {
    session.onMessage = (type, body) => {
      heard.push({ type, body })
      if (heard.length === count) resolve(heard)
    }
  })
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('messages', () => {
  test('of every size up to 8 MiB arrive unchanged and in order, both ways at once', async () => {
    await using door = await openDoor()
    const { worker, pool } = await joined(door)
    const sizes = [0, 1, 65_514, 65_515, 65_516, 65_517, 131_072, 1_000_003, 8 * 2 ** 20 - 1, 3]
    const bodies = sizes.map((size, i) => Buffer.alloc(size, `${i}-`))
    const atPool = hear(pool, sizes.length)
    const atWorker = hear(worker, sizes.length)
    for (const [i, body] of bodies.entries()) {
      worker.send(i, body)
      pool.send(255 - i, [body.subarray(0, 10), body.subarray(10)])
    }
    expect((await atPool).map(({ type }) => type)).toEqual(sizes.map((_, i) => i))
    expect((await atWorker).map(({ type }) => type)).toEqual(sizes.map((_, i) => 255 - i))
    for (const [i, body] of bodies.entries()) {
      expect((await atPool)[i]?.body.equals(body)).toBe(true)
      expect((await atWorker)[i]?.body.equals(body)).toBe(true)
    }
  })

  test('above 8 MiB are refused where they are written', async () => {
    await using door = await openDoor()
    const { worker } = await joined(door)
    expect(() => worker.send(1, Buffer.alloc(8 * 2 ** 20))).toThrow(RangeError)
    expect(worker.closed).toBe(false)
  })

  test('of one turn share records, the first one leaves at once, and order is kept', async () => {
    await using door = await openDoor()
    const { worker, pool } = await joined(door)
    const heard = hear(pool, 1_001)
    const records = vi.spyOn(RecordReader.prototype, 'read')
    for (let i = 0; i < 1_000; i += 1) worker.send(1, Buffer.from(String(i)))
    expect(worker.bufferedBytes()).toBeGreaterThan(5_000)
    worker.send(2)
    const bodies = (await heard).map(({ body }) => body.toString())
    expect(bodies).toEqual([...Array.from({ length: 1_000 }, (_, i) => String(i)), ''])
    expect(records).toHaveBeenCalledTimes(2)
    records.mockRestore()
  })

  test('wait for a listener that comes later, and a close waits for what was sent before', async () => {
    await using door = await openDoor()
    const { worker, pool } = await joined(door)
    const ended = sessionEnd(worker)
    pool.send(1, Buffer.from('one'))
    pool.send(2, Buffer.from('two'))
    pool.close(4403, 'worker_revoked')
    pool.send(3, Buffer.from('never'))
    const heard: string[] = []
    worker.onMessage = (_, body) => heard.push(body.toString())
    expect(await ended).toEqual({ code: 4403, reason: 'worker_revoked' })
    expect(heard).toEqual(['one', 'two'])
    expect([worker.closed, pool.closed]).toEqual([true, true])
  })

  test('that nobody listens to are kept up to sixteen records', async () => {
    await using door = await openDoor()
    const { worker, pool } = await joined(door)
    const ended = sessionEnd(pool)
    for (let i = 0; i < 40; i += 1) {
      worker.send(1)
      await turn()
      await turn()
    }
    expect(await ended).toEqual({ code: 4400, reason: 'protocol_violation' })
  })
})

describe('the end of a session', () => {
  test('is told once to each side, also to those who ask late', async () => {
    await using door = await openDoor()
    const { worker, pool } = await joined(door)
    const told: string[] = []
    pool.onClose = ({ reason }) => told.push(`pool ${reason}`)
    const ended = sessionEnd(worker)
    pool.close(4409, 'session_replaced')
    pool.close(4500, 'internal_error')
    expect(told).toEqual([])
    await ended
    expect(told).toEqual(['pool session_replaced'])
    expect(await sessionEnd(worker)).toEqual({ code: 4409, reason: 'session_replaced' })
  })

  test('comes at once when the other process dies', async () => {
    await using door = await openDoor()
    await using between = await relay(door.port)
    const { worker, pool } = await joined({ ...door, url: between.url })
    const ended = [sessionEnd(worker), sessionEnd(pool)]
    await between[Symbol.asyncDispose]()
    expect((await Promise.all(ended)).map(({ code }) => code)).toEqual([1006, 1006])
  })

  test('comes when a listener throws, and the error is reported', async () => {
    await using door = await openDoor()
    const { worker, pool } = await joined(door)
    const ended = sessionEnd(worker)
    pool.onMessage = () => {
      throw new Error('a bug of ours')
    }
    worker.send(1)
    worker.send(2)
    expect(await ended).toEqual({ code: 4500, reason: 'internal_error' })
    expect(door.faults).toEqual([new Error('a bug of ours')])
  })
})

describe('who tampers with a running session ends it', () => {
  /** Both ends behind a relay that changes what the worker sends once it is told to. */
  async function tampered(change: (chunk: Buffer) => Buffer) {
    const door = await openDoor()
    let active = false
    const between = await relay(door.port, (chunk, from) => (active && from === 'worker' ? change(chunk) : chunk))
    const { worker, pool } = await joined({ ...door, url: between.url })
    const heard: string[] = []
    pool.onMessage = (_, body) => heard.push(body.toString())
    const ended = Promise.all([sessionEnd(pool), sessionEnd(worker)])
    active = true
    worker.send(1, Buffer.from('pay ten'))
    const ends = await ended
    await between[Symbol.asyncDispose]()
    await door[Symbol.asyncDispose]()
    return { heard, codes: ends.map(({ code }) => code) }
  }

  test('by flipping one bit', async () => {
    const flip = (chunk: Buffer) => {
      const copy = Buffer.from(chunk)
      copy[12] = (copy[12] ?? 0) ^ 1
      return copy
    }
    expect(await tampered(flip)).toEqual({ heard: [], codes: [4400, 4400] })
  })

  test('by playing a frame twice', async () => {
    const twice = (chunk: Buffer) => Buffer.concat([chunk, chunk])
    expect(await tampered(twice)).toEqual({ heard: ['pay ten'], codes: [4400, 4400] })
  })

  test('by announcing a frame above 65,535 bytes', async () => {
    const huge = () => Buffer.from('82ff0000000000010000aabbccdd', 'hex')
    const { heard, codes } = await tampered(huge)
    expect(heard).toEqual([])
    expect(codes).toEqual([4400, 1009])
  })

  test('by sending what is no WebSocket frame', async () => {
    const { heard, codes } = await tampered((chunk) => Buffer.alloc(chunk.length, 0xff))
    expect(heard).toEqual([])
    expect(codes[0]).toBe(4400)
  })
})

test('both sides take new keys under traffic, and nothing is lost', async () => {
  const rekeys = vi.spyOn(CipherState.prototype, 'rekey')
  let ahead = 0
  const pushed: Runtime = { ...systemRuntime, monotonic: () => systemRuntime.monotonic() + ahead }
  await using door = await openDoor({ runtime: pushed })
  const { worker, pool } = await joined(door, { runtime: pushed })
  const big = Buffer.alloc(200_000, 'x')
  const [atPool, atWorker]: [string[], string[]] = [[], []]
  const collect = (heard: string[]) => (_: number, body: Buffer) => {
    heard.push(body.equals(big) ? 'big' : body.toString())
  }
  pool.onMessage = collect(atPool)
  worker.onMessage = collect(atWorker)
  const [toPool, toWorker]: [string[], string[]] = [[], []]
  const send = (session: SecureSession, sent: string[], text: string) => {
    session.send(1, text === 'big' ? big : Buffer.from(text))
    sent.push(text)
  }
  const arrived = () => atPool.length === toPool.length && atWorker.length === toWorker.length
  for (let i = 0; i < 300; i += 1) {
    send(worker, toPool, i % 50 === 0 ? 'big' : `w${i}`)
    send(pool, toWorker, i % 50 === 20 ? 'big' : `p${i}`)
    await turn()
    // A key is old after 120 s, and so is half a message of several records: time goes on only when those have arrived.
    if (i % 10 === 0) await vi.waitUntil(arrived, { timeout: 30_000, interval: 1 })
    if (i % 10 > 5) ahead += 30_000
  }
  await vi.waitUntil(arrived, { timeout: 30_000, interval: 1 })
  expect([atPool, atWorker]).toEqual([toPool, toWorker])
  expect([worker.closed, pool.closed]).toEqual([false, false])
  // 29 times each side as sender, and as often as reader
  expect(rekeys.mock.calls.length).toBeGreaterThanOrEqual(4 * 29)
  rekeys.mockRestore()
})

describe('a worker that sends too much is closed', () => {
  test('by messages', async () => {
    await using door = await openDoor({ limits: { messagesPerSecond: 100, messagesBurst: 500 } })
    const { worker, pool } = await joined(door)
    pool.onMessage = () => {}
    const ended = sessionEnd(worker)
    for (let i = 0; i < 600; i += 1) worker.send(1)
    expect(await ended).toEqual({ code: 4429, reason: 'rate_exceeded' })
  })

  test('by bytes, and not before', async () => {
    await using door = await openDoor({ limits: { bytesPerSecond: 1, bytesBurst: 100_000 } })
    const { worker, pool } = await joined(door)
    const heard = hear(pool, 1)
    worker.send(1, Buffer.alloc(90_000))
    await heard
    expect(pool.closed).toBe(false)
    const ended = sessionEnd(worker)
    worker.send(1, Buffer.alloc(20_000))
    expect(await ended).toEqual({ code: 4429, reason: 'rate_exceeded' })
  })

  test.each(['ping', 'pong'] as const)('by WebSocket %ss', async (control) => {
    await using door = await openDoor({ limits: { messagesPerSecond: 1, messagesBurst: 50 } })
    const letIn = door.nextSession()
    const identity = generateIdentity(systemRuntime)
    const socket = await knockByHand(door, (noise) => noise.write((hash) => writeWorkerPayload(identity, hash)))
    await letIn
    const ended = ending(socket)
    for (let i = 0; i < 60; i += 1) socket[control]()
    expect(await ended).toEqual({ code: 4429, reason: 'rate_exceeded' })
  })

  test('by WebSocket pings before it said who it is', async () => {
    await using door = await openDoor()
    const socket = await strangerSocket(door.url)
    const ended = ending(socket)
    for (let i = 0; i < 20; i += 1) socket.ping()
    expect(await ended).toEqual({ code: 4400, reason: 'protocol_violation' })
  })

  test('by pieces of a frame that has no end', async () => {
    await using door = await openDoor()
    const socket = await strangerSocket(door.url)
    const ended = ending(socket)
    for (let i = 0; i < 70; i += 1) socket.send(Buffer.alloc(1), { fin: false })
    expect((await ended).code).toBe(1008)
  })
})

describe('a side that does not read', () => {
  test('makes the other wait, and it is told when the way is free', async () => {
    await using door = await openDoor()
    await using between = await relay(door.port)
    const { worker, pool } = await joined({ ...door, url: between.url })
    between.hold()
    const chunk = Buffer.alloc(2 ** 20)
    let sent = 0
    while (pool.bufferedBytes() < 2 * 2 ** 20) {
      pool.send(1, chunk)
      sent += 1
      await turn()
    }
    const drained = new Promise<void>((resolve) => {
      pool.onDrain = resolve
    })
    const heard = hear(worker, sent)
    between.release()
    await drained
    expect(pool.bufferedBytes()).toBe(0)
    expect(await heard).toHaveLength(sent)
  })

  test('costs bounded memory: it is closed', async () => {
    await using door = await openDoor({ limits: { sendBufferBytesMax: 4 * 2 ** 20 } })
    await using between = await relay(door.port)
    const { pool } = await joined({ ...door, url: between.url })
    between.hold()
    const ended = sessionEnd(pool)
    let sent = 0
    while (!pool.closed) {
      pool.send(1, Buffer.alloc(2 ** 20))
      sent += 1
      await turn()
    }
    expect(await ended).toEqual({ code: 4429, reason: 'rate_exceeded' })
    expect(sent).toBeLessThan(30)
  })
})
