import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApiDouble } from '../../testkit/api-double.ts'

let api: ApiDouble
beforeAll(async () => {
  api = await ApiDouble.open()
})
afterAll(() => api[Symbol.asyncDispose]())

const chat = { model: 'toy', messages: [{ role: 'user', content: 'hi' }] }
const ask = (more: object = {}, headers: Record<string, string> = {}) =>
  api.post('/v1/chat/completions', { ...chat, ...more }, headers)

async function refusalOf(reply: Response): Promise<object> {
  const { error } = (await reply.json()) as { error: object }
  return { status: reply.status, ...error }
}

test('a request that says nothing has the pool’s policy, and the head says what came of it', async () => {
  const reply = await ask()
  expect(api.jobs.last.request).toMatchObject({ assurance: { level: 'sampled', explicit: false }, privacy: 'standard' })
  expect(reply.headers.get('x-lichen-assurance')).toBe('sampled;given=none;reason=no_verifier')
  expect(reply.headers.has('x-lichen-privacy')).toBe(false)
})

test.each([
  ['a header', {}, { 'x-lichen-assurance': 'required' }],
  ['the body', { assurance: 'required' }, {}],
  ['both', { assurance: 'required' }, { 'x-lichen-assurance': 'required' }],
])('%s asks for an assurance explicitly', async (_, body, headers) => {
  expect((await ask(body, headers)).status).toBe(200)
  expect(api.jobs.last.request.assurance).toEqual({ level: 'required', explicit: true })
})

test('a key’s own assurance and privacy hold until a request says otherwise', async () => {
  expect((await ask({}, { authorization: 'Bearer sk-strict' })).status).toBe(200)
  expect(api.jobs.last.request).toMatchObject({ assurance: { level: 'required', explicit: true }, privacy: 'paranoid' })
  const headers = { authorization: 'Bearer sk-strict', 'x-lichen-privacy': 'standard' }
  expect((await ask({ assurance: 'none' }, headers)).status).toBe(200)
  expect(api.jobs.last.request).toMatchObject({ assurance: { level: 'none', explicit: true }, privacy: 'standard' })
})

test('the head repeats a privacy that is more than usual', async () => {
  const reply = await ask({ stream: true }, { 'x-lichen-privacy': 'single-exposure' })
  expect(reply.headers.get('x-lichen-privacy')).toBe('single-exposure')
  await reply.text()
})

test('an answer without chance has a seed, also when none was sent', async () => {
  await ask({ assurance: 'deterministic', temperature: 0 })
  expect(api.jobs.last.request.seed).toBe(0)
  await ask({ assurance: 'deterministic', temperature: 0, seed: 7 })
  expect(api.jobs.last.request.seed).toBe(7)
})

const wrong: [string, object, Record<string, string>, object][] = [
  ['an unknown assurance', {}, { 'x-lichen-assurance': 'sure' }, { code: 'invalid_request' }],
  ['one in the body', { assurance: 'sure' }, {}, { code: 'invalid_request', param: 'assurance' }],
  ['two at once', { assurance: 'none' }, { 'x-lichen-assurance': 'required' }, { param: 'assurance' }],
  ['a header said twice', {}, { 'x-lichen-assurance': 'none, required' }, { code: 'invalid_request' }],
  ['an unknown privacy', {}, { 'x-lichen-privacy': 'balanced' }, { code: 'invalid_request' }],
  ['chance', { assurance: 'deterministic' }, {}, { code: 'unsupported_parameter', param: 'temperature' }],
  [
    'a second pair of eyes',
    { assurance: 'required' },
    { 'x-lichen-privacy': 'single-exposure' },
    { param: 'assurance' },
  ],
  ['several choices for one pair', { n: 2 }, { 'x-lichen-privacy': 'single-exposure' }, { param: 'n' }],
]
test.each(wrong)('%s is refused with what to do', async (_, body, headers, refusal) => {
  const before = api.jobs.all.length
  expect(await refusalOf(await ask(body, headers))).toMatchObject({ status: 400, ...refusal })
  expect(api.jobs.all).toHaveLength(before)
})

test('embeddings are not compared, and say so', async () => {
  const body = { model: 'org/vectors', input: 'hi', assurance: 'required' }
  const refusal = await refusalOf(await api.post('/v1/embeddings', body))
  expect(refusal).toMatchObject({ status: 400, code: 'unsupported_parameter', param: 'assurance' })
})
