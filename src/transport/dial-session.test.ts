import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { ed25519 } from '@noble/curves/ed25519.js'
import { describe, expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import { generateDhKey, generateIdentity, type Identity } from '#crypto'
import { PoolError, type PoolId, parsePoolId } from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'
import { ending, impostor, joined, knock, knockByHand, openDoor, relay, strangerSocket } from '../testkit/knocking.ts'
import { sessionUrl } from './dial-session.ts'
import { prologue } from './handshake-frames.ts'
import { NoiseHandshake } from './noise-handshake.ts'
import { signedSessionBytes, writePoolPayload, writeWorkerPayload } from './session-payload.ts'

const codeOf = (error: unknown) => (error instanceof PoolError ? error.code : error)
const token = Buffer.from('a token that only its pool may see')

test('a worker and its pool talk over one session, and each knows who the other is', async () => {
  await using door = await openDoor()
  const identity = generateIdentity(systemRuntime)
  const { worker, pool } = await joined(door, { identity, token })
  const heard = new Promise<[number, string]>((resolve) => {
    pool.onMessage = (type, body) => resolve([type, body.toString()])
  })
  worker.send(7, Buffer.from('moin'))
  expect(await heard).toEqual([7, 'moin'])
  expect(worker.peer).toEqual({ publicKey: door.pool.publicKey, id: door.pool.id })
  expect(pool.peer).toEqual({ publicKey: identity.publicKey, id: identity.id, address: '127.0.0.1' })
  expect(door.peers).toEqual([{ publicKey: identity.publicKey, id: identity.id, token, address: '127.0.0.1' }])
  expect(pool.peerPayload).toEqual({ ok: true, standing: 'approved' })
  expect(worker.peerPayload).toBeUndefined()
})

describe('a worker at the wrong door', () => {
  /** Answers the handshake like a pool, up to message 3. */
  function answerAs(poolId: string, payload: (hash: Buffer) => Buffer, third: (message: Buffer) => void) {
    return (socket: WebSocket) => {
      const noise = new NoiseHandshake({
        initiator: false,
        prologue: prologue(poolId),
        staticKey: generateDhKey(systemRuntime),
        ephemeralKey: generateDhKey(systemRuntime),
      })
      socket.once('message', (first: Buffer) => {
        noise.read(first)
        socket.send(noise.write(payload))
        socket.on('message', third)
      })
    }
  }

  const wanted = generateIdentity(systemRuntime)
  const wantedId = parsePoolId(wanted.id) as PoolId
  const liar = generateIdentity(systemRuntime)
  const liars: [string, string, string, (hash: Buffer) => Buffer][] = [
    ['another pool', 'wrong_pool', liar.id, (hash) => writePoolPayload(liar, hash)],
    ['a liar who signs with a key of its own', 'wrong_pool', wanted.id, (hash) => writePoolPayload(liar, hash)],
    ['a liar who shows the right key', 'handshake_failed', wanted.id, (hash) => signedBy(liar, wanted, hash)],
    ['a liar who replays a signature', 'handshake_failed', wanted.id, () => writePoolPayload(wanted, Buffer.alloc(32))],
    ['a liar who signs as a worker', 'handshake_failed', wanted.id, (hash) => writeWorkerPayload(wanted, hash)],
    ['a liar without a payload', 'handshake_failed', wanted.id, () => Buffer.alloc(0)],
  ]

  function signedBy(signer: Identity, shown: Identity, hash: Buffer): Buffer {
    return Buffer.concat([shown.publicKey, signer.sign(signedSessionBytes('pool', hash))])
  }

  test.each(liars)('gives neither name nor token to %s', async (_, code, poolId, payload) => {
    const thirds: Buffer[] = []
    await using other = await impostor(answerAs(poolId, payload, (message) => thirds.push(message)))
    const dialled = knock({ url: other.url, poolId: wantedId }, { token })
    expect(await dialled.catch(codeOf)).toBe(code)
    expect(thirds).toEqual([])
  })

  test('says so at a real pool that is not the one of its invite', async () => {
    await using door = await openDoor()
    expect(await knock({ url: door.url, poolId: wantedId }, { token }).catch(codeOf)).toBe('wrong_pool')
    expect(door.peers).toEqual([])
  })
})

test('who sits between and sees every byte learns neither texts, nor tokens, nor identities', async () => {
  await using door = await openDoor()
  await using between = await relay(door.port)
  const identity = generateIdentity(systemRuntime)
  const { worker, pool } = await joined({ ...door, url: between.url }, { identity, token })
  const canary = 'the canary sings only for its pool'
  const heard: string[] = []
  const both = new Promise<void>((resolve) => {
    const listen = (_: number, body: Buffer) => heard.push(body.toString()) === 2 && resolve()
    pool.onMessage = listen
    worker.onMessage = listen
  })
  worker.send(1, Buffer.from(canary))
  pool.send(2, Buffer.from(canary))
  await both
  expect(heard).toEqual([canary, canary])
  const seen = unmasked(between.seen())
  for (const secret of [canary, token, identity.publicKey, identity.id, door.pool.publicKey]) {
    expect(seen.includes(secret)).toBe(false)
  }
})

/** The bytes, and the payloads of masked WebSocket frames in them undone, so that masking hides nothing from the search. */
function unmasked(bytes: Buffer): Buffer {
  const frames: Buffer[] = [bytes]
  for (let at = bytes.indexOf('\r\n\r\n') + 4; at + 8 < bytes.length; at += 1) {
    if (bytes[at] !== 0x82 || ((bytes[at + 1] ?? 0) & 0x80) === 0) continue
    const length = (bytes[at + 1] ?? 0) & 0x7f
    const head = length === 126 ? 4 : 2
    const mask = bytes.subarray(at + head, at + head + 4)
    const payload = bytes.subarray(at + head + 4, at + head + 4 + 400)
    frames.push(Buffer.from(payload.map((byte, i) => byte ^ (mask[i & 3] ?? 0))))
  }
  return Buffer.concat(frames)
}

describe('the pool ends a handshake', () => {
  test.each([0, 31, 33, 200])('that begins with %i bytes of garbage', async (length) => {
    await using door = await openDoor()
    const socket = await strangerSocket(door.url)
    const ended = ending(socket)
    socket.send(Buffer.alloc(length, 0x77))
    expect(await ended).toEqual({ code: 4400, reason: 'handshake_failed' })
    expect(door.refusals).toEqual(['handshake_failed'])
  })

  test('that begins with a key of small order', async () => {
    await using door = await openDoor()
    const socket = await strangerSocket(door.url)
    const ended = ending(socket)
    socket.send(Buffer.alloc(32))
    expect(await ended).toEqual({ code: 4400, reason: 'handshake_failed' })
    expect(door.faults).toEqual([])
  })

  test('that begins with text', async () => {
    await using door = await openDoor()
    const socket = await strangerSocket(door.url)
    const ended = ending(socket)
    socket.send('hello')
    expect(await ended).toEqual({ code: 4400, reason: 'protocol_violation' })
  })

  test('that begins with a frame above 65,535 bytes', async () => {
    await using door = await openDoor()
    const socket = await strangerSocket(door.url)
    const ended = ending(socket)
    socket.send(Buffer.alloc(65_536))
    expect((await ended).code).toBe(1009)
  })

  /** What comes of a worker whose message 3 is made by `third`. */
  async function byHand(third: (noise: NoiseHandshake) => Buffer, isKnownKey = false) {
    await using door = await openDoor({ isKnownKey: () => isKnownKey })
    const letIn = door.nextSession()
    const socket = await knockByHand(door, third)
    const outcome = await Promise.race([ending(socket), letIn.then(() => 'let in')])
    return { outcome, asked: door.peers.length }
  }

  const worker = generateIdentity(systemRuntime)
  const failed = { outcome: { code: 4400, reason: 'handshake_failed' }, asked: 0 }
  const cut = (noise: NoiseHandshake) => noise.write((hash) => writeWorkerPayload(worker, hash)).subarray(0, -1)
  const wrongRole = (noise: NoiseHandshake) =>
    noise.write((hash) => Buffer.concat([writePoolPayload(worker, hash), Buffer.of(0)]))
  const nothing = (noise: NoiseHandshake) => noise.write(() => Buffer.alloc(0))

  test.each([
    ['whose third message is cut', cut],
    ['whose third message is signed as a pool', wrongRole],
    ['whose third message proves nobody', nothing],
    ['whose third message is empty', () => Buffer.alloc(0)],
  ])('%s', async (_, third) => {
    expect(await byHand(third)).toEqual(failed)
  })

  const sha512 = (...parts: Uint8Array[]) => createHash('sha512').update(Buffer.concat(parts)).digest()

  /** A signature that verifies under a key with a part of order 2: about every second attempt satisfies the bare equation. */
  function signUnderMixedKey(noise: NoiseHandshake): Buffer {
    const { Point } = ed25519
    const little = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
    const order2 = Point.fromHex(`ec${'ff'.repeat(30)}7f`)
    const key = Point.BASE.multiply(7n).add(order2).toBytes()
    return noise.write((hash) => {
      const message = signedSessionBytes('worker', hash)
      for (let r = 1_000n; ; r += 1n) {
        const commitment = Point.BASE.multiply(r).toBytes()
        const k = little(sha512(commitment, key, message)) % Point.Fn.ORDER
        if (k % 2n !== 0n) continue
        const scalar = Buffer.from(((r + k * 7n) % Point.Fn.ORDER).toString(16).padStart(64, '0'), 'hex').reverse()
        return Buffer.concat([key, commitment, scalar, Buffer.of(0)])
      }
    })
  }

  test('of a key that is not torsion-free, though its signature verifies', async () => {
    expect(await byHand(signUnderMixedKey)).toEqual(failed)
    expect(await byHand(signUnderMixedKey, true)).toEqual({ outcome: 'let in', asked: 1 })
  })
})

/** A world in which every wait is fifty times shorter. */
const hasty: Runtime = {
  ...systemRuntime,
  after: (ms, run, options) => systemRuntime.after(ms / 50, run, options),
}

describe('a worker that cannot get through is told why', () => {
  const poolId = parsePoolId('a'.repeat(64)) as PoolId

  test('when nobody listens', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const error = await knock({ url: `http://127.0.0.1:${port}`, poolId }).catch((reason: PoolError) => reason)
    expect(error).toMatchObject({ code: 'pool_unreachable', message: expect.stringContaining('ECONNREFUSED') })
  })

  test.each([
    [200, 'pool_unreachable'],
    [400, 'unsupported_protocol'],
    [404, 'pool_unreachable'],
    [429, 'too_many_sockets'],
    [503, 'shutting_down'],
  ])('when the address answers with HTTP %i', async (status, code) => {
    const server = createServer((_, response) => response.writeHead(status, { 'retry-after': '7' }).end('no'))
    server.listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    const error = await knock({ url: `http://127.0.0.1:${port}`, poolId }).catch((reason: PoolError) => reason)
    expect(error).toMatchObject({ code })
    if (status === 429) expect((error as PoolError).refusal.retryAfterMs).toBe(7_000)
    await new Promise((resolve) => server.close(resolve))
  })

  test('when what answers the phone says nothing', async () => {
    const server = createTcpServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    const error = await knock({ url: `http://127.0.0.1:${port}`, poolId }, { runtime: hasty }).catch((reason) => reason)
    expect(error).toMatchObject({
      code: 'pool_unreachable',
      message: expect.stringContaining('did not answer in time'),
    })
    await new Promise((resolve) => server.close(resolve))
  })

  test('when the pool never answers', async () => {
    await using silent = await impostor(() => {})
    expect(await knock({ url: silent.url, poolId }, { runtime: hasty }).catch(codeOf)).toBe('auth_deadline')
  })

  test.each([
    [1001, 'shutting_down'],
    [4400, 'handshake_failed'],
    [4408, 'auth_deadline'],
  ])('when the pool hangs up with %i', async (closed, code) => {
    await using curt = await impostor((socket) => socket.close(closed))
    expect(await knock({ url: curt.url, poolId }).catch(codeOf)).toBe(code)
  })

  test('and stops dialling when it is told to', async () => {
    await using silent = await impostor(() => {})
    const stop = new AbortController()
    const dialled = knock({ url: silent.url, poolId }, { signal: stop.signal })
    stop.abort(new Error('enough'))
    await expect(dialled).rejects.toThrow('enough')
    await expect(knock({ url: silent.url, poolId }, { signal: stop.signal })).rejects.toThrow('enough')
  })
})

test('a worker that says nothing is sent away at the deadline', async () => {
  await using door = await openDoor({ runtime: hasty })
  const socket = await strangerSocket(door.url)
  expect(await ending(socket)).toEqual({ code: 4408, reason: 'auth_deadline' })
  expect(door.refusals).toEqual(['auth_deadline'])
})

test.each([
  ['http://pool.example:5424', 'ws://pool.example:5424/v1/workers/session'],
  ['https://pool.example', 'wss://pool.example/v1/workers/session'],
  ['https://pool.example/lichen/', 'wss://pool.example/lichen/v1/workers/session'],
  ['ws://[::1]:9/?x=1#y', 'ws://[::1]:9/v1/workers/session'],
])('workers of %s dial %s', (url, dialled) => {
  expect(sessionUrl(url)).toBe(dialled)
})

test.each(['pool.example', 'ftp://pool.example', ''])('"%s" is no address of a pool', (url) => {
  expect(() => sessionUrl(url)).toThrow('not an http or https URL')
})
