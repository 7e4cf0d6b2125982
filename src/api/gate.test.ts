import net from 'node:net'
import { expect, test } from 'vitest'
import { ApiDouble } from '../testkit/api-double.ts'
import { openGate } from './gate.ts'

/** Sends bytes as they are and reads until the server closes: the whole answer, its status, its refusal. */
async function knock(port: number, bytes: string) {
  const text = await new Promise<string>((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes))
    let received = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      received += chunk
    })
    socket.on('error', reject).on('close', () => resolve(received))
  })
  const at = text.indexOf('{')
  const { code, message } = at < 0 ? {} : (JSON.parse(text.slice(at)).error ?? {})
  return { status: Number(text.slice(9, 12)), code, message, text: text.toLowerCase() }
}

const get = (path: string, host: string) => `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`

test('a web page whose name was made to point to this machine reads nothing, with or without a key', async () => {
  await using api = await ApiDouble.open({ loopbackOnly: true })
  for (const path of ['/', '/version', '/metrics', '/openapi.json', '/healthz', '/readyz', '/nothing', '/v1/models']) {
    const { status, code, message, text } = await knock(api.port, get(path, `rebound.example:${api.port}`))
    expect([path, status, code]).toEqual([path, 403, 'host_not_allowed'])
    expect(message).toContain('--public-url')
    expect(text).toContain('x-request-id: req_')
  }
})

test.each(['localhost', 'LOCALHOST:5424', '127.0.0.1:80', '127.8.9.10', '[::1]:5424', '[::1]'])(
  'this machine may be called %s',
  async (host) => {
    await using api = await ApiDouble.open({ loopbackOnly: true })
    expect((await knock(api.port, get('/version', host))).status).toBe(200)
  },
)

test.each([
  '127.evil.example',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
  '[::2]',
  '10.0.0.1',
  '',
  'a@localhost',
])('but not "%s"', (host) => {
  const gate = openGate({ loopbackOnly: true, publicUrl: undefined })
  expect(gate({ headers: { host }, httpVersion: '1.1' })?.code).toBe('host_not_allowed')
})

test('the name the operator gave is good too; a health check of HTTP/1.0 needs none', async () => {
  await using api = await ApiDouble.open({ loopbackOnly: true, publicUrl: 'https://Pool.example:8443' })
  expect((await knock(api.port, get('/version', 'pool.example'))).status).toBe(200)
  expect((await knock(api.port, get('/version', 'other.example'))).status).toBe(403)
  expect((await knock(api.port, 'GET /healthz HTTP/1.0\r\n\r\n')).status).toBe(200)
})

test('a pool that others reach is called by any name', async () => {
  await using api = await ApiDouble.open()
  expect((await knock(api.port, get('/version', 'pool.lan'))).status).toBe(200)
})

test('a compressed body is 415 with what to do, and is never taken for JSON', async () => {
  await using api = await ApiDouble.open()
  for (const coding of ['gzip', 'br', 'identity, gzip', 'zstd']) {
    const answer = await api.post('/v1/chat/completions', '{}', { 'content-encoding': coding })
    expect(answer.status).toBe(415)
    const { error } = (await answer.json()) as { error: { code: string; message: string } }
    expect(error.code).toBe('unsupported_media_type')
    expect(error.message).toContain('without `content-encoding`')
  }
  const plain = { model: 'toy', messages: [{ role: 'user', content: 'hi' }] }
  expect((await api.post('/v1/chat/completions', plain, { 'content-encoding': 'identity' })).status).toBe(200)
})

test.each([
  ['without a Host', 'GET /version HTTP/1.1\r\nconnection: close\r\n\r\n', 400, 'invalid_request'],
  [
    'with an expectation nobody can meet',
    'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: tea\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
    417,
    'expectation_failed',
  ],
  ['for a tunnel', 'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n', 405, 'method_not_allowed'],
])('a request %s is refused in the form of every refusal', async (_, bytes, status, code) => {
  await using api = await ApiDouble.open()
  const answer = await knock(api.port, bytes)
  expect(answer).toMatchObject({ status, code })
  expect(answer.text).toContain('x-content-type-options: nosniff\r\n')
  expect(answer.text).toContain('cache-control: no-store\r\n')
  expect(answer.text).toContain('content-type: application/json; charset=utf-8\r\n')
})

test('a client that asks first whether it may go on is told so', async () => {
  await using api = await ApiDouble.open()
  const body = '{"model":"toy","messages":[{"role":"user","content":"hi"}]}'
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-all\r\nconnection: close\r\n`
  const more = `content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: ${body.length}\r\n\r\n`
  const { text } = await knock(api.port, head + more + body)
  expect(text).toMatch(/^http\/1\.1 100 continue\r\n\r\nhttp\/1\.1 200 ok\r\n/)
})
