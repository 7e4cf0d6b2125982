import OpenAI from 'openai'
import { expect, test } from 'vitest'
import { OrderPool } from '../testkit/order-pool.ts'
import { alice, bob } from '../testkit/receipt-sample.ts'
import { createClient } from './create-client.ts'

const ask = { model: 'demo', messages: [{ role: 'user' as const, content: '2+3=' }] }

function clientOf({ url }: OrderPool, more: { payerKey?: Buffer; nextSeq?: () => number } = {}): OpenAI {
  const fetch = createClient({ poolUrl: url, apiKey: 'sk', payerKey: alice.seed, ...more })
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk', fetch, maxRetries: 0 })
}

test("OpenAI's own client pays with alice's signature, streamed or not", async () => {
  await using pool = await OrderPool.open()
  const openai = clientOf(pool)
  const whole = await openai.chat.completions.create(ask)
  expect(whole.choices[0]?.message.content).toBe('5')
  let text = ''
  for await (const chunk of await openai.chat.completions.create({ ...ask, stream: true, max_tokens: 7, n: 2 })) {
    text += chunk.choices[0]?.delta.content ?? ''
  }
  expect(text).toBe('5!')
  const [first, second] = pool.orders
  expect(first).toMatchObject({
    custody: 'payer',
    model: 'demo',
    kind: 'chat',
    account: 'user:alice',
    assurance: 'sampled',
  })
  const promptCap = (bytes: number) => BigInt(bytes + 16) * 100n
  expect(first?.cap).toBe(promptCap(Buffer.byteLength(JSON.stringify(ask))) + 1_024n * 400n)
  const longer = JSON.stringify({ ...ask, stream: true, max_tokens: 7, n: 2 })
  expect(second?.cap).toBe(promptCap(Buffer.byteLength(longer)) + 14n * 400n)
  expect(second?.seq).toBeGreaterThan(first?.seq ?? Number.POSITIVE_INFINITY)
  expect(pool.requests.filter(({ url }) => url === '/v1/prices')).toHaveLength(1)
})

test('a pinned model file is ordered by its name and its digest', async () => {
  await using pool = await OrderPool.open()
  const digest = 'ab'.repeat(32)
  await clientOf(pool).chat.completions.create({ ...ask, model: `demo@${digest}` })
  expect(pool.orders).toMatchObject([{ model: 'demo', digest: Buffer.from(digest, 'hex') }])
})

test('fifty requests at once have fifty orders', async () => {
  await using pool = await OrderPool.open()
  const openai = clientOf(pool)
  await Promise.all(Array.from({ length: 50 }, () => openai.chat.completions.create(ask)))
  expect(new Set(pool.orders.map(({ seq }) => seq)).size).toBe(50)
})

test('a number that was used and prices that rose are cured by signing once more', async () => {
  await using pool = await OrderPool.open()
  let seq = 5
  const openai = clientOf(pool, { nextSeq: () => seq++ })
  pool.usedSeq = 5
  await openai.chat.completions.create(ask)
  expect(pool.orders.map((order) => order.seq)).toEqual([6])
  pool.prices = { prompt: 200n, completion: 800n }
  await openai.chat.completions.create(ask)
  expect(pool.orders[1]?.prices).toEqual({ prompt: 200n, completion: 800n })
})

test('the refusal of an order reaches the program as the pool said it', async () => {
  await using pool = await OrderPool.open()
  await expect(clientOf(pool, { payerKey: bob.seed }).chat.completions.create(ask)).rejects.toThrow(/another payer key/)
})

test('what costs nothing, and what goes elsewhere, is not signed', async () => {
  await using pool = await OrderPool.open()
  await using elsewhere = await OrderPool.open()
  const fetch = createClient({ poolUrl: `${pool.url}/v1/`, apiKey: 'sk', payerKey: alice.seed.toString('base64url') })
  expect((await fetch(`${pool.url}/v1/models`)).status).toBe(404)
  const post = { method: 'POST', body: JSON.stringify(ask) }
  expect((await fetch(`${elsewhere.url}/v1/chat/completions`, post)).status).toBe(402)
  expect((await fetch(new Request(`${pool.url}/v1/chat/completions`, post))).status).toBe(200)
  for (const { url, headers } of [...pool.requests, ...elsewhere.requests]) {
    expect('x-lichen-order' in headers).toBe(headers.host === new URL(pool.url).host && url === '/v1/chat/completions')
  }
})

test('a body the pool will refuse is sent unsigned, so that the pool says why', async () => {
  await using pool = await OrderPool.open()
  const fetch = createClient({ poolUrl: pool.url, apiKey: 'sk', payerKey: alice.seed })
  const response = await fetch(`${pool.url}/v1/chat/completions`, { method: 'POST', body: '{"model":' })
  expect(response.status).toBe(402)
  expect(pool.requests.map(({ url }) => url)).toEqual(['/v1/chat/completions'])
})

test('a pool whose key is not its id is believed nothing', async () => {
  await using pool = await OrderPool.open()
  pool.priceList = () => ({ ...OrderPool.prototype.priceList.call(pool), pool_id: bob.id })
  const fetch = createClient({ poolUrl: pool.url, apiKey: 'sk', payerKey: alice.seed })
  const asked = fetch(`${pool.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(ask) })
  await expect(asked).rejects.toThrow(/prices cannot be read/)
})
