import http from 'node:http'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { answerBytes } from './envelope.ts'
import { notCalled, Outbound } from './outbound.ts'

const [ours, theirs] = [generateIdentity(systemRuntime), generateIdentity(systemRuntime)]
let serve: http.RequestListener = () => {}
let asked: http.IncomingMessage[] = []
let resolved: string[] = []
let on = false
let aborts: ((why: 'killed') => void)[] = []
const server = http.createServer((request, response) => {
  asked.push(request)
  serve(request, response)
})
let port = 0
let outbound: Outbound

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as { port: number }).port
  outbound = new Outbound({
    identity: ours,
    runtime: systemRuntime,
    killSwitch: {
      whyOff: async () => (on ? 'killed' : undefined),
      register(abort) {
        aborts.push(abort)
        return () => {
          aborts = aborts.filter((one) => one !== abort)
        }
      },
    },
    policy: { httpHosts: [`127.0.0.1:${port}`, `pool.example:${port}`], privateRanges: ['127.0.0.1'] },
    resolve: async (host) => {
      resolved.push(host)
      return host === 'pool.example' ? (addresses.shift() ?? []) : []
    },
  })
})
let addresses: string[][] = []
afterEach(() => {
  expect(aborts).toEqual([])
  asked = []
  resolved = []
  on = false
})
afterAll(() => {
  outbound[Symbol.dispose]()
  server.closeAllConnections()
  server.close()
})

const info = { method: 'GET', target: '/v1/federation/info' } as const
const to = (version: 1 | 2) => ({
  url: `http://127.0.0.1:${port}`,
  known: { id: theirs.id as PoolId, key: theirs.publicKey, version },
})
const json = (body: object) => (_: unknown, response: http.ServerResponse) =>
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))

test('while the kill switch is on nothing is sent', async () => {
  on = true
  expect(await outbound.call(to(1), info)).toMatchObject({ ok: false, code: 'killed' })
  expect(asked).toEqual([])
})

test('an answer that runs is cut when the kill switch flips', async () => {
  serve = (_, response) => void response.writeHead(200).write('{')
  const opened = await outbound.open(to(1), info)
  if (!opened.ok) throw new Error(opened.message)
  expect((await opened.pieces.next()).value).toEqual(Buffer.from('{'))
  for (const abort of [...aborts]) abort('killed')
  expect(await opened.pieces.next().catch(notCalled)).toMatchObject({ code: 'killed' })
})

test('what nobody reads on ends all the same', async () => {
  serve = (_, response) => void response.writeHead(200).write('{')
  expect(await outbound.open(to(1), { ...info, msMax: 100 })).toMatchObject({ ok: true })
  await expect.poll(() => aborts, { timeout: 10_000 }).toEqual([])
})

test('a redirect is not followed', async () => {
  serve = (_, response) => response.writeHead(302, { location: `http://127.0.0.1:${port}/v1/admin/keys` }).end()
  expect(await outbound.call(to(1), info)).toMatchObject({ code: 'redirected', status: 302 })
  expect(asked).toHaveLength(1)
})

test('a compressed answer is not unpacked', async () => {
  const bomb = gzipSync(Buffer.alloc(50_000_000, 0x20))
  serve = (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)
  expect(await outbound.call(to(1), info)).toMatchObject({ code: 'answer_encoded' })
  expect(asked[0]?.headers['accept-encoding']).toBe('identity')
})

test('an answer without an end is cut at a megabyte', async () => {
  let written = 0
  serve = (_, response) => {
    response.writeHead(200)
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, 0x20))) written += 65_536
      if (!response.destroyed) response.once('drain', more)
    }
    more()
  }
  expect(await outbound.call(to(1), info)).toMatchObject({ code: 'answer_too_large' })
  expect(written).toBeLessThan(20_000_000)
})

test('a pool that answers too slowly is given up', async () => {
  serve = (_, response) => void response.writeHead(200).write('{')
  expect(await outbound.call(to(1), { ...info, msMax: 200 })).toMatchObject({ code: 'out_of_time' })
  expect(await outbound.call(to(1), { ...info, silenceMsMax: 100 })).toMatchObject({ code: 'timeout' })
  serve = () => {}
  expect(await outbound.call(to(1), { ...info, msMax: 200 })).toMatchObject({ code: 'out_of_time' })
  expect(await outbound.call(to(1), { ...info, headMsMax: 200 })).toMatchObject({ code: 'timeout' })
})

test('who gives up is not kept waiting', async () => {
  serve = () => {}
  const stop = new AbortController()
  const call = outbound.call(to(1), { ...info, signal: stop.signal })
  await expect.poll(() => asked.length).toBe(1)
  stop.abort()
  expect(await call).toMatchObject({ code: 'cancelled' })
})

test('a name is resolved once, judged, and the connection goes to what was judged', async () => {
  serve = json({ a: 1 })
  addresses = [['127.0.0.1'], ['10.0.0.1'], ['127.0.0.1', '169.254.169.254'], []]
  const named = { url: `http://pool.example:${port}` }
  expect(await outbound.call(named, info)).toMatchObject({ ok: true, body: { a: 1 }, signed: false })
  expect(asked[0]?.headers.host).toBe(`pool.example:${port}`)
  for (const why of ['forbidden_address', 'forbidden_address', 'no_address'])
    expect(await outbound.call(named, info)).toMatchObject({
      code: 'url_refused',
      message: expect.stringContaining(why),
    })
  expect(resolved).toHaveLength(4)
  expect(asked).toHaveLength(1)
})

test('an address that no policy allows is not called, however it is written', async () => {
  for (const host of ['127.0.0.2', '2130706434', '0x7f.2', '[::ffff:7f00:2]', '①②⑦.⓪.⓪.②', 'localhost', '10.1.1.1'])
    expect(await outbound.call({ url: `https://${host}` }, info)).toMatchObject({ code: 'url_refused' })
})

test('of a version 2 pool only what it signed counts, for this question and this asker', async () => {
  const answer = (wrong: { asker?: string; status?: number; body?: string; by?: typeof ours } = {}) =>
    ((request, response) => {
      const body = Buffer.from('{"a":1}')
      const type = 'application/json'
      // the question's own hash is what only a whole receiver can know; see meeting.test.ts for the good case
      const parts = { responder: theirs.id, asker: wrong.asker ?? ours.id, requestHash: Buffer.alloc(32), status: 200 }
      const signature = (wrong.by ?? theirs).sign(answerBytes({ ...parts, contentType: type, body })).toString('base64')
      request.resume()
      response
        .writeHead(200, { 'content-type': type, 'x-iamine-envelope': '2', 'x-iamine-signature': signature })
        .end(wrong.body ?? body)
    }) satisfies http.RequestListener
  for (const wrong of [{}, { asker: theirs.id }, { body: '{"a":2}' }, { by: ours }]) {
    serve = answer(wrong)
    expect(await outbound.call(to(2), info)).toMatchObject({ ok: false, code: 'answer_forged' })
  }
  serve = json({ a: 1 })
  expect(await outbound.call(to(2), info)).toMatchObject({ ok: false, code: 'answer_forged' })
  expect(await outbound.call(to(1), info)).toMatchObject({ ok: true, signed: false })
})

test('a refusal is told in the other pool’s words, with when to come back', async () => {
  serve = (_, response) =>
    response.writeHead(429, { 'retry-after': '60' }).end('{"error":"too many requests of this pool"}')
  expect(await outbound.call(to(1), info)).toEqual({
    ok: false,
    code: 'refused',
    message: 'too many requests of this pool',
    status: 429,
    retryAfterS: 60,
  })
})

test('an answer that is no strict JSON is none', async () => {
  serve = (_, response) => response.writeHead(200).end('{"a":1,"a":2}')
  expect(await outbound.call(to(1), info)).toMatchObject({ code: 'answer_malformed' })
  serve = (_, response) => response.writeHead(200).end('['.repeat(100_000))
  expect(await outbound.call(to(1), info)).toMatchObject({ code: 'answer_malformed' })
})

test('a pool that is not there is told in a sentence', async () => {
  serve = (request) => request.socket.destroy()
  const called = await outbound.call(to(1), info)
  expect(called).toMatchObject({ ok: false, message: expect.stringMatching(/^It cannot be reached: .+[^.]\.$/) })
})
