import net from 'node:net'
import { createParser } from 'eventsource-parser'
import { expect, test } from 'vitest'
import { ApiDouble, tokenOf } from '../testkit/api-double.ts'
import { smallPayer } from '../testkit/small-workers.ts'

const messages = [{ role: 'user', content: 'hi' }]
const chat = (more: object = {}) => JSON.stringify({ model: 'toy', messages, ...more })

const postHead = (length: number, more = '') =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-all\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n${more}\r\n`

/** Sends bytes and reads until the server closes, or until `until` has been seen. */
function exchange(port: number, bytes: string, until?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes))
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      if (until !== undefined && text.includes(until)) socket.destroy()
    })
    socket.on('error', reject).on('close', () => resolve(text))
  })
}

async function eventually(look: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !look(); tries++) await new Promise((resolve) => setTimeout(resolve, 25))
  expect(look()).toBe(true)
}

test('bytes that are no HTTP are told so in the form of every refusal, and the connection ends', async () => {
  await using api = await ApiDouble.open()
  const answer = await exchange(api.port, 'HELO pool\r\n\r\n')
  expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\nconnection: close\r\n/)
  expect(JSON.parse(answer.slice(answer.indexOf('{'))).error.code).toBe('invalid_request')
})

test('headers without end are refused', async () => {
  await using api = await ApiDouble.open()
  const answer = await exchange(api.port, `GET / HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(20_000)}`)
  expect(answer).toContain('The request headers are too large.')
})

test.each([
  ['headers', 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n'],
  ['body', `${postHead(100)}{"model"`],
  ['first byte', ''],
])('a client that never finishes its %s is told 408', async (_, bytes) => {
  await using api = await ApiDouble.open({ limits: { headersTimeoutMs: 200, requestTimeoutMs: 300, slowCheckMs: 50 } })
  const answer = await exchange(api.port, bytes)
  expect(answer).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/)
  expect(answer).toContain('"code":"request_timeout"')
  expect(api.jobs.all).toEqual([])
  expect(api.errors).toEqual([])
})

test('two requests in one packet are answered in order on one connection', async () => {
  await using api = await ApiDouble.open()
  const body = chat()
  const one = postHead(body.length) + body
  const answer = await exchange(api.port, one + one.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n'))
  expect(answer.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2)
})

test.each([
  ['invalid_json', 400, '{"model":'],
  ['invalid_json', 400, ''],
  ['duplicate_key', 400, '{"model":"toy","model":"big","messages":[]}'],
  ['too_deep', 400, `{"model":"toy","messages":${'['.repeat(70)}${']'.repeat(70)}}`],
])('%s', async (code, status, body) => {
  await using api = await ApiDouble.open()
  const answer = await api.post('/v1/chat/completions', body)
  expect(answer.status).toBe(status)
  expect(((await answer.json()) as { error: { code: string } }).error.code).toBe(code)
  expect(api.jobs.all).toEqual([])
})

test('a body that is not declared as JSON is 415', async () => {
  await using api = await ApiDouble.open()
  const answer = await api.post('/v1/chat/completions', chat(), { 'content-type': 'text/plain' })
  expect(answer.status).toBe(415)
})

test('a body over 4 MiB is 413, declared or not, and the client gets to read it', async () => {
  await using api = await ApiDouble.open()
  const big = chat({ user: 'x'.repeat(4 * 2 ** 20) })
  expect((await api.post('/v1/chat/completions', big)).status).toBe(413)
  const chunked = await fetch(`${api.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-all', 'content-type': 'application/json' },
    body: new Blob([big]).stream(),
    duplex: 'half',
  } as RequestInit)
  expect(chunked.status).toBe(413)
})

test('of a body that is far too large nothing more is read, and its connection ends', async () => {
  await using api = await ApiDouble.open()
  const head = [
    'POST /v1/chat/completions HTTP/1.1',
    'host: x',
    'authorization: Bearer sk-all',
    'content-type: application/json',
    'content-length: 1000000000',
    '',
    '',
  ].join('\r\n')
  const socket = net.connect(api.port, '127.0.0.1')
  let [text, sent] = ['', 0]
  const piece = Buffer.alloc(65_536, 0x20)
  const send = () => {
    while (socket.writable && sent < 500_000_000 && socket.write(piece)) sent += piece.length
  }
  socket.on('drain', send).on('error', () => {})
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  socket.write(head)
  send()
  await new Promise((resolve) => socket.on('close', resolve))
  expect(text).toMatch(/^HTTP\/1\.1 413 .*connection: close/is)
  expect(sent).toBeLessThan(100_000_000)
})

test('a body of exactly 4 MiB is read', async () => {
  await using api = await ApiDouble.open()
  const empty = chat({ user: '' }).length
  const answer = await api.post('/v1/chat/completions', chat({ user: 'x'.repeat(4 * 2 ** 20 - empty) }))
  expect(answer.status).toBe(200)
})

test('nobody without a key gets a body read', async () => {
  await using api = await ApiDouble.open()
  const head =
    'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n'
  const answer = await exchange(api.port, head, '"code":"missing_api_key"')
  expect(answer).toMatch(/^HTTP\/1\.1 401/)
  expect(answer.toLowerCase()).toContain('www-authenticate: bearer')
})

test('both ways to send a key work, and a scheme that is not Bearer does not', async () => {
  await using api = await ApiDouble.open()
  const ask = (headers: Record<string, string>) => fetch(`${api.url}/v1/models`, { headers })
  expect((await ask({ 'x-api-key': 'sk-all' })).status).toBe(200)
  expect((await ask({ authorization: 'bearer sk-all' })).status).toBe(200)
  expect((await ask({ authorization: 'Basic sk-all' })).status).toBe(401)
})

test('a client that leaves stops its job at once, in the queue as in mid-stream', async () => {
  await using api = await ApiDouble.open()
  api.jobs.script = () => {}
  for (const stream of [false, true]) {
    const gone = new AbortController()
    const asked = fetch(`${api.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-all', 'content-type': 'application/json' },
      body: chat({ stream }),
      signal: gone.signal,
    })
    asked.catch(() => {})
    const before = api.jobs.all.length
    await eventually(() => api.jobs.all.length > before)
    if (stream) {
      api.jobs.last.sink.text(0, 'Once', [])
      await (await asked).body?.getReader().read()
    }
    gone.abort()
    await eventually(() => api.jobs.last.cancelled)
  }
  expect(api.ended.map((one) => one.status)).toEqual([499, 499])
})

test('a client that leaves while its job is being accepted leaves no job behind', async () => {
  await using api = await ApiDouble.open()
  const accept = api.jobs.accept.bind(api.jobs)
  api.jobs.accept = async (request, sink) => {
    await new Promise((resolve) => setTimeout(resolve, 100))
    return accept(request, sink)
  }
  api.jobs.script = () => {}
  const gone = new AbortController()
  const asked = fetch(`${api.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-all', 'content-type': 'application/json' },
    body: chat(),
    signal: gone.signal,
  })
  setTimeout(() => gone.abort(), 30)
  await expect(asked).rejects.toThrow()
  await eventually(() => api.jobs.all.length === 1 && api.jobs.last.cancelled)
})

test.each([
  ['before its body', ''],
  ['in the middle of its body', '{"model"'],
  ['behind its body', chat()],
])('a client that leaves while its key is looked up, %s, has as many requests a minute as before', async (_, sent) => {
  const says = { role: 'user', models: null, assurance: null, privacy: 'standard' } as const
  const client = { ...smallPayer('few', { requestsPerMinute: 1 }), userId: 'ada', ...says }
  const looked: ((found: typeof client) => void)[] = []
  await using api = await ApiDouble.open({ authenticate: () => new Promise((resolve) => looked.push(resolve)) })
  let left = 0
  api.app.server.on('connection', (socket) => socket.once('close', () => left++))
  const socket = net.connect(api.port, '127.0.0.1', () => socket.write(postHead(chat().length) + sent))
  await eventually(() => looked.length === 1)
  socket.destroy()
  await eventually(() => left === 1)
  looked[0]?.(client)
  const asked = api.post('/v1/chat/completions', chat())
  await eventually(() => looked.length === 2)
  looked[1]?.(client)
  expect((await asked).status).toBe(200)
  expect(api.jobs.all).toHaveLength(1)
  expect(api.errors).toEqual([])
})

test('while a stream waits for a worker it says so, and a failure afterwards is an error event', async () => {
  await using api = await ApiDouble.open({ limits: { keepAliveCommentMs: 500 } })
  api.jobs.script = (job) => {
    setTimeout(() => job.sink.failed({ code: 'no_worker', message: 'Nobody.', fix: 'Wait.' }), 3_000)
  }
  const answer = await api.post('/v1/chat/completions', chat({ stream: true }))
  expect(answer.status).toBe(200)
  const comments: string[] = []
  const events: string[] = []
  const parser = createParser({ onComment: (text) => comments.push(text), onEvent: (event) => events.push(event.data) })
  parser.feed(await answer.text())
  expect(comments.length).toBeGreaterThanOrEqual(1)
  expect(new Set(comments)).toEqual(new Set(['keep-alive']))
  expect(events.map((event) => JSON.parse(event).error.code)).toEqual(['no_worker'])
})

test('events of one moment leave in one write, and the parser sees each', async () => {
  await using api = await ApiDouble.open()
  const body = chat({ stream: true })
  const answer = await exchange(api.port, postHead(body.length, 'connection: close\r\n') + body)
  expect(answer.toLowerCase()).toContain('\r\ncontent-type: text/event-stream; charset=utf-8\r\n')
  expect(answer.match(/^[0-9a-f]+\r$/gm)).toHaveLength(2)
  const events: string[] = []
  const parser = createParser({ onEvent: (event) => events.push(event.data) })
  parser.feed(unchunk(Buffer.from(answer)))
  expect(events).toHaveLength(8)
  expect(events.at(-1)).toBe('[DONE]')
})

test('text is credited once the socket took it; a reader that stops holds up its own worker only', async () => {
  await using api = await ApiDouble.open({ limits: { stalledReaderMs: 1_500, readerBytesPerSecondMin: 1e9 } })
  const window = 64 * 1_024
  const word = 'word '.repeat(20)
  let sent = 0
  api.jobs.script = (job) => {
    const pump = () => {
      while (!job.cancelled && sent - job.consumedBytes < window) {
        sent += word.length
        job.sink.text(0, word, [tokenOf(word)])
      }
    }
    job.onConsumed = () => setImmediate(pump)
    pump()
  }
  const body = chat({ stream: true })
  const socket = net.connect(api.port, '127.0.0.1', () => socket.write(postHead(body.length) + body))
  socket.pause()
  await eventually(() => sent > 0)
  let before = -1
  await eventually(() => {
    const still = before === sent
    before = sent
    return still
  })
  const held = api.app.server.listening && sent - api.jobs.last.consumedBytes
  expect(held).toBeLessThanOrEqual(window + word.length)
  await eventually(() => api.jobs.last.cancelled)
  socket.destroy()
  expect(api.ended.at(-1)).toEqual({ route: '/v1/chat/completions', status: 499 })
})

test('a reader that was slow and comes back gets every word, in fewer events', async () => {
  await using api = await ApiDouble.open()
  const words = Array.from({ length: 60_000 }, (_, index) => `${index} `)
  api.jobs.script = (job) => {
    let next = 0
    let sent = 0
    const pump = () => {
      for (let n = 0; n < 200 && next < words.length && sent - job.consumedBytes < 64 * 1_024; n++) {
        const word = words[next++] ?? ''
        sent += word.length
        job.sink.text(0, word, [])
      }
      if (next < words.length) return void setImmediate(pump)
      job.sink.choiceEnd(0, 'stop')
      job.sink.end({ promptTokens: 1, completionTokens: words.length })
    }
    pump()
  }
  const body = chat({ stream: true })
  const socket = net.connect(api.port, '127.0.0.1', () =>
    socket.write(postHead(body.length, 'connection: close\r\n') + body),
  )
  socket.pause()
  await new Promise((resolve) => setTimeout(resolve, 500))
  let text = ''
  let events = 0
  const parser = createParser({
    onEvent: ({ data }) => {
      events++
      if (data !== '[DONE]') text += JSON.parse(data).choices[0].delta.content ?? ''
    },
  })
  const received: Buffer[] = []
  await new Promise((resolve) => {
    socket.on('data', (chunk) => received.push(chunk)).on('close', resolve)
    socket.resume()
  })
  parser.feed(unchunk(Buffer.concat(received)))
  expect(text).toBe(words.join(''))
  expect(events).toBeLessThan(words.length)
})

/** The body of a chunked HTTP response (RFC 9112 §7.1). */
function unchunk(response: Buffer): string {
  const parts: Buffer[] = []
  let at = response.indexOf('\r\n\r\n') + 4
  for (;;) {
    const end = response.indexOf('\r\n', at)
    const size = Number.parseInt(response.toString('latin1', at, end), 16)
    if (!size) return Buffer.concat(parts).toString('utf8')
    parts.push(response.subarray(end + 2, end + 2 + size))
    at = end + 2 + size + 2
  }
}

test('unknown paths and methods are refused before a body is read, in the form of every refusal', async () => {
  await using api = await ApiDouble.open()
  const wrong = await fetch(`${api.url}/v1/chat/completion`, { method: 'POST', body: 'x' })
  expect(wrong.status).toBe(404)
  expect(await wrong.json()).toMatchObject({ error: { code: 'route_not_found', type: 'invalid_request_error' } })
  const method = await fetch(`${api.url}/v1/chat/completions`)
  expect(method.status).toBe(405)
  expect(method.headers.get('allow')).toBe('POST')
  const gone = await fetch(`${api.url}/v1/models/toy`, { method: 'DELETE' })
  expect([gone.status, gone.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  const broken = await exchange(api.port, 'GET /%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  expect(broken).toMatch(/^HTTP\/1\.1 400/)
  expect(broken).toContain('"type":"invalid_request_error"')
})

test('a request id that is plain is kept, any other is replaced', async () => {
  await using api = await ApiDouble.open()
  const idOf = async (id: string) =>
    (await fetch(`${api.url}/healthz`, { headers: { 'x-request-id': id } })).headers.get('x-request-id')
  expect(await idOf('trace-7')).toBe('trace-7')
  expect(await idOf('a b<script>')).toMatch(/^req_/)
  expect(await idOf('x'.repeat(200))).toMatch(/^req_/)
})

test('no page of another origin is invited in', async () => {
  await using api = await ApiDouble.open()
  const answer = await fetch(`${api.url}/v1/models`, { method: 'OPTIONS', headers: { origin: 'https://evil.example' } })
  expect(answer.status).toBe(405)
  expect(answer.headers.get('access-control-allow-origin')).toBeNull()
})

test('a page of a listed origin is, to what programs use and nothing else', async () => {
  const origin = 'https://app.example.org'
  await using api = await ApiDouble.open({ browserOrigins: [origin] })
  const ask = (path: string, from: string) =>
    fetch(api.url + path, {
      method: 'OPTIONS',
      headers: { origin: from, 'access-control-request-method': 'POST' },
    })
  const preflight = await ask('/v1/chat/completions', origin)
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-origin')).toBe(origin)
  expect(preflight.headers.get('access-control-allow-headers')).toMatch(/authorization.*x-lichen-order/)
  const strangers = [await ask('/v1/chat/completions', 'https://evil.example'), await ask('/v1/admin/keys', origin)]
  for (const { status, headers } of strangers) {
    expect([status, headers.get('access-control-allow-origin')]).toEqual([405, null])
  }
  const models = await fetch(`${api.url}/v1/models`, { headers: { origin, authorization: 'Bearer sk-all' } })
  expect(models.status).toBe(200)
  expect(models.headers.get('access-control-allow-origin')).toBe(origin)
  expect(models.headers.get('vary')).toBe('origin')
  const refused = await fetch(`${api.url}/v1/models`, { headers: { origin } })
  expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([401, origin])
})
