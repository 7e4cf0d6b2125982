import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import { createClient } from '../../client/index.ts'
import { eventually, Neighbourhood } from '../../testkit/neighbourhood.ts'

const town = new Neighbourhood()
beforeAll(async () => {
  await town.start('pool')
  await town.join('ann')
}, 120_000)
afterAll(() => town[Symbol.asyncDispose](), 60_000)

const messages = [{ role: 'user' as const, content: '3+4=?' }]
const request = { model: 'lichen-demo', messages, temperature: 0 }
const inFolder = (name: string) => path.join(town.folder, name)

async function post(body: object, apiKey = town.apiKey): Promise<Response> {
  return fetch(`${town.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
}

const poolId = async () => (await town.admin<{ pool: string }>('GET', '/status')).pool

/** The receipt of a response, once it is settled, as a file. */
async function receiptOf(response: Response, name: string, apiKey = town.apiKey): Promise<string> {
  const id = response.headers.get('x-lichen-receipt')
  const file = inFolder(name)
  await eventually('the receipt', async () => {
    const answer = await fetch(`${town.url}/v1/receipts/${id}`, { headers: { authorization: `Bearer ${apiKey}` } })
    if (answer.status === 202) return false
    expect(answer.status).toBe(200)
    await writeFile(file, Buffer.from(await answer.arrayBuffer()))
    return true
  })
  return file
}

test('a stranger checks an answer offline, and one changed byte of it is told in a sentence', async () => {
  const response = await post(request)
  const answer = inFolder('answer.json')
  await writeFile(answer, Buffer.from(await response.arrayBuffer()))
  const receipt = await receiptOf(response, 'receipt.json')
  const good = await town.cli('verify', receipt, '--response', answer, '--pool', await poolId())
  expect([good.code, good.err]).toEqual([0, ''])
  expect(good.out).toContain('as pinned')
  expect(good.out).toMatch(/1 segment signed by workers/)

  const bytes = await readFile(answer)
  bytes[40] = (bytes[40] ?? 0) ^ 1
  await writeFile(answer, bytes)
  const bad = await town.cli('verify', receipt, '--response', answer)
  expect(bad.code).toBe(1)
  expect(bad.err).toContain('not the one this receipt was written for')
  expect((await town.cli('verify', receipt, '--pool', '00'.repeat(32))).code).toBe(1)
})

test('a stream is checked by its data lines, keep-alive comments or not', async () => {
  const response = await post({
    ...request,
    stream: true,
    messages: [{ role: 'user', content: 'tell me about lichen' }],
  })
  const stream = inFolder('answer.sse')
  const text = await response.text()
  await writeFile(stream, `: a comment\n\n${text}`)
  const receipt = await receiptOf(response, 'stream.json')
  expect((await town.cli('verify', receipt, '--response', stream)).code).toBe(0)
  await writeFile(stream, text.replace('lichen', 'moss!!'))
  expect((await town.cli('verify', receipt, '--response', stream)).code).toBe(1)
})

test('another key does not see the receipt, an auditor does', async () => {
  const response = await post(request)
  await response.text()
  await receiptOf(response, 'mine.json')
  const id = response.headers.get('x-lichen-receipt')
  const keyOf = async (...more: string[]) => {
    const { json } = await town.cli('keys', 'create', 'other', ...more, '--json')
    return (json as { key: string }).key
  }
  const status = async (key: string) => {
    const answer = await fetch(`${town.url}/v1/receipts/${id}`, { headers: { authorization: `Bearer ${key}` } })
    await answer.arrayBuffer()
    return answer.status
  }
  expect(await status(await keyOf())).toBe(404)
  expect(await status(await keyOf('--role', 'auditor'))).toBe(200)
})

test('with a payer key of its own, the official client is billed by nobody without its signature', async () => {
  const payer = identityFromSeed(Buffer.alloc(32, 0x44))
  const user = 'alice'
  expect((await town.cli('users', 'create', user)).code).toBe(0)
  expect((await town.cli('users', 'payer-key', user, payer.publicKey.toString('base64url'))).code).toBe(0)
  expect((await town.cli('admin-key', 'new', 'me', '--file', inFolder('admin.key'))).code).toBe(0)
  expect((await town.cli('grant', user, '5', '--file', inFolder('admin.key'))).code).toBe(0)
  const made = await town.cli('keys', 'create', 'alice’s', '--user', user, '--payer-signature', 'required', '--json')
  const { key } = made.json as { key: string }
  const refused = await post(request, key)
  expect([refused.status, await refused.json()]).toMatchObject([403, { error: { code: 'payer_signature_required' } }])

  const signing = createClient({ poolUrl: town.url, apiKey: key, payerKey: payer.seed })
  const openai = new OpenAI({ baseURL: `${town.url}/v1`, apiKey: key, fetch: signing, maxRetries: 0 })
  const { data, response } = await openai.chat.completions.create(request).withResponse()
  expect(data.choices[0]?.message.content).toBe('7')
  const receipt = await receiptOf(response, 'signed.json', key)
  const checked = await town.cli('verify', receipt)
  expect([checked.code, checked.out.includes('ordered by payer key')]).toEqual([0, true])

  const file = inFolder('payer.key')
  await writeFile(file, `${payer.seed.toString('base64url')}\n`, { mode: 0o600 })
  const proxy = town.run(['proxy', '--listen', '0', '--payer-key', file, '--url', town.url, '--json'])
  const { url } = await proxy.firstLine()
  const through = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 })
  const stream = await through.chat.completions.create({ ...request, stream: true })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  expect(text).toBe('7')
  expect(await proxy.stop()).toBe(0)
})

test('a key with limits is told what is left, and what is missing', async () => {
  const keyWith = async (...limits: string[]) => {
    const { json } = await town.cli('keys', 'create', 'small', ...limits, '--json')
    return (json as { key: string }).key
  }
  const poor = await keyWith('--budget', '0.3')
  const answer = await post({ ...request, max_tokens: 5 }, poor)
  await answer.arrayBuffer()
  expect(Number(answer.headers.get('x-lichen-budget-remaining'))).toBeLessThan(0.3)
  const over = await post({ ...request, max_tokens: 900 }, poor)
  expect([over.status, await over.json()]).toMatchObject([402, { error: { code: 'budget_exceeded' } }])
  expect(over.headers.get('x-lichen-budget-remaining')).toMatch(/^0\.2/)

  const slow = await keyWith('--tokens-per-minute', '500')
  const first = await post({ ...request, max_tokens: 5 }, slow)
  await first.arrayBuffer()
  expect(first.headers.get('x-ratelimit-limit-tokens')).toBe('500')
  expect(Number(first.headers.get('x-ratelimit-remaining-tokens'))).toBeLessThan(500)
  const fast = await post({ ...request, max_tokens: 470 }, slow)
  expect([fast.status, await fast.json()]).toMatchObject([429, { error: { code: 'token_rate_exceeded' } }])
  expect(Number(fast.headers.get('retry-after'))).toBeGreaterThan(0)
})

test('who leaves in mid-answer pays for the prompt and for what the worker had sent', async () => {
  // A fast worker may have ended before a busy client leaves: then there is nothing to cancel, and it asks again.
  const statement = await eventually('an answer that was cut off', async () => {
    const leave = new AbortController()
    const response = await fetch(`${town.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${town.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        ...request,
        stream: true,
        messages: [{ role: 'user', content: 'tell me about lichen' }],
      }),
      signal: leave.signal,
    })
    await response.body?.getReader().read()
    leave.abort()
    const file = await receiptOf(response, 'left.json')
    expect((await town.cli('verify', file)).code).toBe(0)
    const left = JSON.parse(await readFile(file, 'utf8')).view.statement
    return left.state === 'cancelled' && left.usage.completion > 0 && left
  })
  expect(statement.segments.length).toBeGreaterThan(0)
  expect(statement.usage.prompt).toBeGreaterThan(10)
})
