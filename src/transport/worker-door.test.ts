import { get, type IncomingHttpHeaders } from 'node:http'
import { describe, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { messageType, PoolError, type Refusal } from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'
import { ending, joined, knock, type OpenDoor, openDoor, sessionEnd, strangerSocket } from '../testkit/knocking.ts'
import { transportLimits } from './limits.ts'
import type { SecureSession } from './secure-session.ts'

const codeOf = (error: unknown) => (error instanceof PoolError ? error.code : error)
const revoked: Refusal = { code: 'worker_revoked', message: 'This worker was revoked.', fix: 'Ask the operator.' }

/** What a pool says before it hangs up. */
function lastWords(session: SecureSession): Promise<{ said: unknown; end: { code: number; reason: string } }> {
  let said: unknown
  session.onMessage = (type, body) => {
    if (type === messageType.refused) said = JSON.parse(body.toString())
  }
  return sessionEnd(session).then((end) => ({ said, end }))
}

/** Waits until something is so. */
async function until(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('a worker that is not let in', () => {
  test('is told why, encrypted, and closed with 4403', async () => {
    await using door = await openDoor({ admit: async () => ({ ok: false, refusal: revoked }) })
    const worker = await knock(door)
    expect(await lastWords(worker)).toEqual({ said: revoked, end: { code: 4403, reason: 'worker_revoked' } })
    expect(door.sessions).toEqual([])
    expect(door.refusals).toEqual(['worker_revoked'])
  })

  test('because the pool cannot ask its database is told that, and comes back', async () => {
    const error = new PoolError('database_unavailable', 'The database does not answer.', 'Try again.')
    await using door = await openDoor({ admit: () => Promise.reject(error) })
    const worker = await knock(door)
    const { said, end } = await lastWords(worker)
    expect(said).toMatchObject({ code: 'database_unavailable' })
    expect(end).toEqual({ code: 4500, reason: 'database_unavailable' })
    expect(door.faults).toEqual([error])
  })

  test('because the pool has a bug costs the pool nothing else', async () => {
    let bug = true
    await using door = await openDoor({
      admit: async () => {
        if (bug) throw new TypeError('undefined is not a worker')
        return { ok: true, standing: 'approved' }
      },
    })
    const worker = await knock(door)
    expect((await lastWords(worker)).end).toEqual({ code: 4500, reason: 'internal_error' })
    expect(door.faults).toHaveLength(1)
    bug = false
    expect((await joined(door)).pool.closed).toBe(false)
  })

  test('in time is sent away at the deadline, however slow the pool decides', async () => {
    const hasty: Runtime = { ...systemRuntime, after: (ms, run, o) => systemRuntime.after(ms / 25, run, o) }
    for (const slow of [
      { admit: () => new Promise<never>(() => {}) },
      { isKnownKey: () => new Promise<never>(() => {}) },
    ]) {
      await using door = await openDoor({ runtime: hasty, ...slow })
      const worker = await knock(door)
      expect(await sessionEnd(worker)).toEqual({ code: 4408, reason: 'auth_deadline' })
    }
  })
})

test('what a worker says before it is let in waits for the pool', async () => {
  let decide = () => {}
  const decided = new Promise<void>((resolve) => {
    decide = resolve
  })
  const heard: string[] = []
  await using door = await openDoor({
    admit: async () => {
      await decided
      return { ok: true, standing: 'pending' }
    },
    onSession: (session) => {
      session.onMessage = (_, body) => heard.push(body.toString())
    },
  })
  const worker = await knock(door)
  worker.send(1, Buffer.from('hello'))
  worker.send(2, Buffer.from('and more'))
  await until(() => door.peers.length === 1)
  expect(heard).toEqual([])
  decide()
  await until(() => heard.length === 2)
  expect(heard).toEqual(['hello', 'and more'])
})

test("a pool that cannot say whether it knows a key is not the worker's fault", async () => {
  const error = new PoolError('database_unavailable', 'The database does not answer.', 'Try again.')
  await using door = await openDoor({ isKnownKey: () => Promise.reject(error) })
  expect(await sessionEnd(await knock(door))).toEqual({ code: 4500, reason: 'database_unavailable' })
  expect(door.faults).toEqual([error])
})

test('a key that was accepted once is not measured again', async () => {
  const asked: string[] = []
  const identity = generateIdentity(systemRuntime)
  await using door = await openDoor({
    isKnownKey: async (id) => {
      asked.push(id)
      return true
    },
  })
  await joined(door, { identity })
  expect(asked).toEqual([identity.id])
})

describe('strangers', () => {
  test('of one source share a limit, and leave room for others', async () => {
    await using door = await openDoor({ limits: { unauthenticatedPerSourceMax: 3 }, trustedProxies: ['127.0.0.1'] })
    const from = (address: string) => strangerSocket(door.url, { 'x-forwarded-for': address })
    const flood = await Promise.all([1, 2, 3].map((n) => from(`203.0.113.${n}`)))
    await expect(from('203.0.113.77')).rejects.toThrow('HTTP 429')
    expect(door.refusals).toEqual(['too_many_sockets'])
    const neighbour = await from('203.0.114.1')
    expect(door.door.strangers).toBe(4)
    flood[0]?.terminate()
    await until(() => door.door.strangers === 3)
    const again = await from('203.0.113.77')
    for (const socket of [...flood, neighbour, again]) socket.terminate()
    await until(() => door.door.strangers === 0)
  })

  test('cannot choose their source where no proxy is trusted', async () => {
    await using door = await openDoor({ limits: { unauthenticatedPerSourceMax: 1 } })
    const first = await strangerSocket(door.url, { 'x-forwarded-for': '198.51.100.1' })
    await expect(strangerSocket(door.url, { 'x-forwarded-for': '198.51.100.2' })).rejects.toThrow('HTTP 429')
    first.terminate()
  })

  test('of all sources together share another limit', async () => {
    await using door = await openDoor({ limits: { unauthenticatedMax: 2 }, trustedProxies: ['127.0.0.0/8'] })
    const from = (address: string) => strangerSocket(door.url, { 'x-forwarded-for': address })
    const sockets = [await from('198.51.100.1'), await from('203.0.113.1')]
    await expect(from('192.0.2.1')).rejects.toThrow('HTTP 429')
    for (const socket of sockets) socket.terminate()
  })

  test('that flood the door keep no worker out for longer than the deadline', async () => {
    const deadlines = new Set<() => void>()
    /** The time of strangers is over when the test says so. */
    const after: Runtime['after'] = (ms, run, more) => {
      if (ms !== transportLimits.authMsMax) return systemRuntime.after(ms, run, more)
      deadlines.add(run)
      return { cancel: () => deadlines.delete(run) }
    }
    await using door = await openDoor({
      runtime: { ...systemRuntime, after },
      limits: { unauthenticatedPerSourceMax: 16 },
    })
    const flood = await Promise.allSettled(Array.from({ length: 200 }, () => strangerSocket(door.url)))
    expect(flood.filter(({ status }) => status === 'fulfilled')).toHaveLength(16)
    expect(await knock(door).catch(codeOf)).toBe('too_many_sockets')
    expect(deadlines.size).toBe(16)
    for (const over of deadlines) over()
    await until(() => door.door.strangers === 0)
    expect((await joined(door)).worker.closed).toBe(false)
  })

  test('whose upgrade is no WebSocket hold no place', async () => {
    await using door = await openDoor({ limits: { unauthenticatedPerSourceMax: 1 } })
    for (let i = 0; i < 3; i += 1) {
      const answer = new Promise<number | undefined>((resolve) => {
        const headers = { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-protocol': 'lichen.worker.1' }
        get({ host: '127.0.0.1', port: door.port, path: '/v1/workers/session', headers }, (response) => {
          response.resume()
          resolve(response.statusCode)
        })
      })
      expect(await answer).toBe(400)
      await until(() => door.door.strangers === 0)
    }
  })

  test('that have become workers no longer count', async () => {
    await using door = await openDoor({ limits: { unauthenticatedPerSourceMax: 1 } })
    for (let i = 0; i < 5; i += 1) await joined(door)
    expect(door.door.strangers).toBe(0)
    expect(door.sessions).toHaveLength(5)
  })
})

describe('an upgrade is refused with HTTP', () => {
  const wanted = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-protocol': 'lichen.worker.1',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-version': '13',
  }

  /** What a knock with these headers is told. `undefined` leaves a header out. */
  function refusal(door: OpenDoor, path: string, changed: Record<string, string | undefined>) {
    const given = Object.entries({ ...wanted, ...changed }).filter(([, value]) => value !== undefined)
    return new Promise<{ status: number | undefined; headers: IncomingHttpHeaders; body: string }>((resolve) => {
      const headers = Object.fromEntries(given)
      get({ host: '127.0.0.1', port: door.port, path, headers }, (response) => {
        let body = ''
        response.on('data', (chunk) => {
          body += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }))
      })
    })
  }

  const session = '/v1/workers/session'
  test.each([
    ['of another version', session, { 'sec-websocket-protocol': 'lichen.worker.9' }, 400, 'unsupported_protocol'],
    ['of no version', session, { 'sec-websocket-protocol': undefined }, 400, 'unsupported_protocol'],
    ['elsewhere', '/v1/elsewhere', {}, 404, 'route_not_found'],
    ['from a web page', session, { origin: 'https://rebound.example' }, 403, 'origin_not_allowed'],
    ['from a sandboxed page', session, { origin: 'null' }, 403, 'origin_not_allowed'],
    ['without a WebSocket key', session, { 'sec-websocket-key': undefined }, 400, 'invalid_request'],
    ['of another WebSocket', session, { 'sec-websocket-version': '7' }, 400, 'invalid_request'],
  ])('%s', async (_, path, changed, status, code) => {
    await using door = await openDoor()
    const refused = await refusal(door, path, changed)
    expect(refused.status).toBe(status)
    expect(JSON.parse(refused.body)).toMatchObject({ error: { code, type: expect.any(String) } })
    expect(refused.headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' })
    expect(door.refusals).toEqual([code])
    await until(() => door.door.strangers === 0)
  })
})

test('a pool that goes away ends sessions and handshakes, and lets nobody in', async () => {
  await using door = await openDoor()
  const { worker } = await joined(door)
  const stranger = await strangerSocket(door.url)
  const ends = Promise.all([sessionEnd(worker), ending(stranger)])
  door.door.close()
  const left = { code: 1001, reason: 'shutting_down' }
  expect(await ends).toEqual([left, left])
  expect(await knock(door).catch(codeOf)).toBe('shutting_down')
})
