import http from 'node:http'
import OpenAI from 'openai'
import { expect, test } from 'vitest'
import { systemRuntime as runtime } from '#runtime'
import { OrderPool } from '../testkit/order-pool.ts'
import { alice, bob } from '../testkit/receipt-sample.ts'
import { OrderProxy } from './order-proxy.ts'

const ask = { model: 'demo', messages: [{ role: 'user' as const, content: '2+3=' }] }
const proxyTo = (pool: { url: string }, payer = alice) =>
  OrderProxy.open({ poolUrl: pool.url, payer, port: 0, runtime })
const openaiAt = ({ url }: { url: string }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk', maxRetries: 0 })

/** One raw request, with headers that fetch would not let us set. */
function raw(url: string, options: http.RequestOptions, body = ''): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { agent: false, ...options }, (answer) => {
      let text = ''
      answer.on('data', (chunk) => {
        text += chunk
      })
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
      answer.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

test('any program pays with the key of the proxy, streamed or not', async () => {
  await using pool = await OrderPool.open()
  await using proxy = await proxyTo(pool)
  const openai = openaiAt(proxy)
  expect((await openai.chat.completions.create(ask)).choices[0]?.message.content).toBe('5')
  const { data, response } = await openai.chat.completions.create({ ...ask, stream: true }).withResponse()
  let text = ''
  for await (const chunk of data) text += chunk.choices[0]?.delta.content ?? ''
  expect(text).toBe('5!')
  expect(response.headers.get('x-lichen-receipt')).toBe('job')
  expect(pool.orders.map(({ payer }) => payer)).toEqual([alice.publicKey, alice.publicKey])
  expect(pool.requests[0]?.headers.authorization).toBe('Bearer sk')
})

test('prices that rose are asked for again; other refusals are passed on as they are', async () => {
  await using pool = await OrderPool.open()
  await using proxy = await proxyTo(pool)
  await openaiAt(proxy).chat.completions.create(ask)
  pool.prices = { prompt: 200n, completion: 800n }
  await openaiAt(proxy).chat.completions.create(ask)
  expect(pool.orders[1]?.prices.prompt).toBe(200n)
  await using stranger = await proxyTo(pool, bob)
  await expect(openaiAt(stranger).chat.completions.create(ask)).rejects.toThrow(/another payer key/)
})

test('what costs nothing goes through unsigned', async () => {
  await using pool = await OrderPool.open()
  await using proxy = await proxyTo(pool)
  const answer = await raw(`${proxy.url}/v1/models?limit=2`, {})
  expect(answer).toEqual({ status: 404, text: '{"path":"/v1/models?limit=2"}' })
  expect(pool.requests[0]?.headers['x-lichen-order']).toBeUndefined()
})

test('a web page cannot order: foreign names, foreign origins and odd paths are refused', async () => {
  await using pool = await OrderPool.open()
  await using proxy = await proxyTo(pool)
  const path = '/v1/chat/completions'
  const refused = [
    await raw(`${proxy.url}${path}`, { method: 'POST', headers: { host: 'evil.example' } }, JSON.stringify(ask)),
    await raw(
      `${proxy.url}${path}`,
      { method: 'POST', headers: { origin: 'https://evil.example' } },
      JSON.stringify(ask),
    ),
    await raw(`${proxy.url}${path}`, { method: 'POST', headers: { origin: 'null' } }, JSON.stringify(ask)),
  ]
  expect(refused.map(({ status }) => status)).toEqual([403, 403, 403])
  const absolute = await raw(proxy.url, { path: 'http://evil.example/v1/models' })
  expect(absolute.status).toBe(400)
  expect(pool.requests).toEqual([])
})

test('a body above 4 MiB is refused by the proxy itself', async () => {
  await using pool = await OrderPool.open()
  await using proxy = await proxyTo(pool)
  const big = await raw(`${proxy.url}/v1/chat/completions`, { method: 'POST' }, 'x'.repeat(4 * 2 ** 20 + 1)).catch(
    () => 'cut',
  )
  expect([413, 'cut']).toContain(typeof big === 'string' ? big : big.status)
  expect(pool.requests).toEqual([])
})

test('without a pool the program is told so', async () => {
  const pool = await OrderPool.open()
  await using proxy = await proxyTo(pool)
  await pool[Symbol.asyncDispose]()
  const answer = await raw(`${proxy.url}/v1/chat/completions`, { method: 'POST' }, JSON.stringify(ask))
  expect(answer.status).toBe(503)
  expect(JSON.parse(answer.text).error.code).toBe('pool_unreachable')
})

test('told to stop, it ends the answers under way', async () => {
  await using pool = await OrderPool.open()
  const proxy = await proxyTo(pool)
  const stream = await openaiAt(proxy).chat.completions.create({ ...ask, stream: true })
  const closed = proxy.close(30_000)
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  await closed
  expect(text).toBe('5!')
})
