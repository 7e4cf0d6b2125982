import { expect, test } from 'vitest'
import { ApiDouble } from '../../testkit/api-double.ts'

const request = { model: 'toy', messages: [{ role: 'user', content: 'hi' }] }
const ask = (api: ApiDouble, key: string, more: object = {}) =>
  api.post('/v1/chat/completions', { ...request, ...more }, { 'idempotency-key': key })

async function eventually(look: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !look(); tries++) await new Promise((resolve) => setTimeout(resolve, 10))
  expect(look()).toBe(true)
}

test('a repeated request gets the very same bytes and receipt, computed once', async () => {
  await using api = await ApiDouble.open()
  const first = await ask(api, 'k1')
  const again = await ask(api, 'k1')
  expect(await again.text()).toBe(await first.text())
  for (const said of ['x-lichen-receipt', 'x-lichen-salt', 'x-lichen-assurance']) {
    expect(first.headers.get(said)).toMatch(/./)
    expect(again.headers.get(said)).toBe(first.headers.get(said))
  }
  expect([first, again].map((one) => one.headers.get('idempotent-replayed'))).toEqual([null, 'true'])
  expect(api.jobs.all).toHaveLength(1)
  expect(api.jobs.last.request.idempotency?.bodyMac).toBeDefined()
})

test('another body under the same key is refused', async () => {
  await using api = await ApiDouble.open()
  await ask(api, 'k1')
  const other = await ask(api, 'k1', { temperature: 0 })
  expect([other.status, await other.json()]).toMatchObject([422, { error: { code: 'idempotency_mismatch' } }])
})

test('a request repeated while the first still runs waits for its answer, even when the first client leaves', async () => {
  await using api = await ApiDouble.open()
  api.jobs.script = () => {}
  const gone = new AbortController()
  const first = fetch(`${api.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-all', 'content-type': 'application/json', 'idempotency-key': 'k' },
    body: JSON.stringify(request),
    signal: gone.signal,
  })
  first.catch(() => {})
  await eventually(() => api.jobs.all.length === 1)
  const second = ask(api, 'k')
  await new Promise((resolve) => setTimeout(resolve, 50))
  gone.abort()
  await expect(first).rejects.toThrow()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(api.jobs.last.cancelled).toBe(false)
  api.jobs.last.answer(['Done.'])
  const answer = await second
  expect(answer.status).toBe(200)
  expect(await answer.text()).toContain('Done.')
  expect(api.jobs.all).toHaveLength(1)
})

test('a request that failed, or whose client left, frees its key', async () => {
  await using api = await ApiDouble.open()
  api.jobs.refusals.push({ code: 'queue_full', message: 'Full.', fix: 'Wait.' })
  expect((await ask(api, 'k')).status).toBe(429)
  const script = api.jobs.script
  api.jobs.script = (job) => job.sink.failed({ code: 'worker_lost', message: 'Gone.', fix: 'Again.' })
  expect((await ask(api, 'k')).status).toBe(503)
  api.jobs.script = () => {}
  const gone = new AbortController()
  const left = fetch(`${api.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-all', 'content-type': 'application/json', 'idempotency-key': 'k' },
    body: JSON.stringify(request),
    signal: gone.signal,
  })
  left.catch(() => {})
  await eventually(() => api.jobs.all.length === 2)
  gone.abort()
  await eventually(() => api.jobs.last.cancelled)
  api.jobs.script = script
  expect((await ask(api, 'k')).status).toBe(200)
})

test('a key that is too long is refused', async () => {
  await using api = await ApiDouble.open()
  expect((await ask(api, 'k'.repeat(256))).status).toBe(400)
  expect((await ask(api, 'k'.repeat(255))).status).toBe(200)
})
