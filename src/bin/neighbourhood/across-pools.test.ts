import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, Neighbourhood, selfSigned } from '#testkit'

const near = new Neighbourhood()
const far = new Neighbourhood()
const ask = { model: 'lichen-demo', messages: [{ role: 'user' as const, content: 'echo bdfh' }], temperature: 0 }

beforeAll(() => Promise.all([near.start('pool'), far.start('up')]))
afterAll(() => Promise.all([near[Symbol.asyncDispose](), far[Symbol.asyncDispose]()]))

test('a worker lends a whole other pool as its upstream', async () => {
  await near.join('alice', ['--upstream', `${far.url}/v1`], { LICHEN_UPSTREAM_API_KEY: far.apiKey })
  await eventually('the models of the other pool', async () => (await fetch(`${near.url}/readyz`)).ok)
  const whole = await near.client().chat.completions.create(ask)
  expect(whole.choices[0]?.message.content).toBe('bdfh')
  const stream = await near.client().chat.completions.create({ ...ask, stream: true })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  expect(text).toBe('bdfh')
  // OpenAI's types do not know our member `lichen`
  const model = (await near.client().models.retrieve('lichen-demo')) as unknown as {
    lichen: { digest: null; engine: string }
  }
  expect(model.lichen).toMatchObject({ digest: null, engine: 'openai' })
})

test('when the other pool goes away in mid-request, the client is told', async () => {
  const pending = near
    .client()
    .chat.completions.create({ ...ask, messages: [{ role: 'user', content: 'tell me about lichen' }], stream: true })
  const reading = (async () => {
    for await (const chunk of await pending) if (chunk.choices[0]?.delta.content) await far.pool?.crash()
  })()
  await expect(reading).rejects.toThrow()
})

test('with a certificate of its own a pool serves HTTPS, and its worker joins through it', async () => {
  await using safe = new Neighbourhood()
  const { cert, key } = selfSigned()
  mkdirSync(safe.folder, { recursive: true })
  const files = { cert: path.join(safe.folder, 'cert.pem'), key: path.join(safe.folder, 'key.pem') }
  writeFileSync(files.cert, cert)
  writeFileSync(files.key, key, { mode: 0o600 })
  const trust = { NODE_EXTRA_CA_CERTS: files.cert }
  const program = safe.run(
    ['up', '--json', '--port', '0', '--data', safe.dataDir, '--tls-cert', files.cert, '--tls-key', files.key],
    trust,
  )
  const { url, api_key } = await program.firstLine()
  expect(url).toMatch(/^https:/)
  const chat = safe.run(['chat', '--data', safe.dataDir, '--json', '3+4=?'], {
    ...trust,
    LICHEN_API_KEY: String(api_key),
  })
  expect(await chat.ended).toBe(0)
  await eventually('the answer', () => chat.stdout.join('').includes('7'))
})
