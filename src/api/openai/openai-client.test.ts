import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { ApiDouble, toyDigest } from '../../testkit/api-double.ts'
import {
  chatChunkSchema,
  chatCompletionSchema,
  completionSchema,
  embeddingListSchema,
  modelListSchema,
} from './reply-schemas.ts'

let api: ApiDouble
let client: OpenAI
beforeAll(async () => {
  api = await ApiDouble.open()
  client = api.client()
})
afterAll(() => api[Symbol.asyncDispose]())

const messages = [{ role: 'user' as const, content: 'What is the answer?' }]

/** The error a call ends with. */
async function errorOf(call: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof OpenAI.APIError)) throw new Error(`expected an API error, got ${String(error)}`)
  return error
}

describe('chat', () => {
  test('a whole answer has the form clients expect, and names its receipt', async () => {
    const { data, response } = await client.chat.completions.create({ model: 'toy', messages }).withResponse()
    chatCompletionSchema.parse(data)
    expect(data.choices[0]).toEqual({
      index: 0,
      message: { role: 'assistant', content: 'The answer is 42.', refusal: null, annotations: [] },
      logprobs: null,
      finish_reason: 'stop',
    })
    expect(data.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 })
    expect(data.system_fingerprint).toBe(`fp_${toyDigest.slice(0, 10)}`)
    expect(response.headers.get('x-lichen-receipt')).toBe(api.jobs.last.id)
    expect(data.id).toBe(`chatcmpl-${api.jobs.last.id.replaceAll('-', '')}`)
    expect(Math.abs(data.created - Date.now() / 1_000)).toBeLessThan(60)
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  test('a streamed answer begins with the role, ends with the reason, and adds up', async () => {
    const stream = await client.chat.completions.create({ model: 'toy', messages, stream: true })
    const chunks = []
    for await (const chunk of stream) chunks.push(chunkOf(chunk))
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '', refusal: null })
    expect(chunks.at(-1)?.choices[0]).toMatchObject({ delta: {}, finish_reason: 'stop' })
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe('The answer is 42.')
    expect(chunks.every((chunk) => !('usage' in chunk) && chunk.object === 'chat.completion.chunk')).toBe(true)
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1)
  })

  test('with include_usage the last chunk has the usage and no choice, the others null', async () => {
    const stream = await client.chat.completions.create({
      model: 'toy',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = []
    for await (const chunk of stream) chunks.push(chunkOf(chunk))
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 12 } })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
  })

  test('the stream helper assembles the same message', async () => {
    const final = await client.chat.completions.stream({ model: 'toy', messages, n: 2 }).finalChatCompletion()
    expect(final.choices.map((choice) => choice.message.content)).toEqual(['The answer is 42.', 'The answer is 42.'])
  })

  test('n answers come as n choices', async () => {
    const { choices } = await client.chat.completions.create({ model: 'toy', messages, n: 3 })
    expect(choices.map((choice) => choice.index)).toEqual([0, 1, 2])
  })

  test('stop strings and token limits reach the job under either name', async () => {
    const stopped = await client.chat.completions.create({ model: 'toy', messages, stop: ' is' })
    expect(stopped.choices[0]).toMatchObject({ message: { content: 'The answer' }, finish_reason: 'stop' })
    const short = await client.chat.completions.create({ model: 'toy', messages, max_completion_tokens: 2 })
    expect(short.choices[0]).toMatchObject({ message: { content: 'The answer ' }, finish_reason: 'length' })
  })

  test('log probabilities name the token, its bytes and the alternatives', async () => {
    const wish = { model: 'toy', messages, logprobs: true, top_logprobs: 1 }
    const whole = await client.chat.completions.create(wish)
    const first = { token: 'The ', logprob: -0.5, bytes: [84, 104, 101, 32] }
    expect(whole.choices[0]?.logprobs?.content?.[0]).toEqual({ ...first, top_logprobs: [first] })
    expect(whole.choices[0]?.logprobs?.content).toHaveLength(5)
    const streamed = []
    for await (const chunk of await client.chat.completions.create({ ...wish, stream: true })) {
      streamed.push(...(chunkOf(chunk).choices[0]?.logprobs?.content ?? []))
    }
    expect(streamed).toEqual(whole.choices[0]?.logprobs?.content)
  })

  test('half a letter is written as bytes', async () => {
    api.jobs.script = (job) => {
      const pieces = [Buffer.from([0xe2]), Buffer.from([0x82, 0xac])]
      const tokens = pieces.map((piece) => ({ id: 1, piece, logprob: -1, top: [] }))
      job.sink.text(0, '€', tokens)
      job.sink.choiceEnd(0, 'stop')
      job.sink.end({ promptTokens: 1, completionTokens: 2 })
    }
    const { choices } = await client.chat.completions.create({ model: 'toy', messages, logprobs: true })
    expect(choices[0]?.logprobs?.content?.map((one) => one.token)).toEqual(['\\xe2', '\\x82\\xac'])
  })

  test('a schema and tools go to the worker untouched; a tool call comes back in one piece', async () => {
    api.jobs.script = (job) => {
      const call = (index: number, more: object) => job.sink.delta(0, { tool_calls: [{ index, ...more }] })
      call(0, { id: 'c1', type: 'function', function: { name: 'look', arguments: '' } })
      call(0, { function: { arguments: '{"at":' } })
      call(1, { id: 'c2', type: 'function', function: { name: 'go', arguments: '{}' } })
      call(0, { function: { arguments: '"sky"}' } })
      job.sink.choiceEnd(0, 'tool_calls')
      job.sink.end({ promptTokens: 1, completionTokens: 9 })
    }
    const request = {
      model: 'big',
      messages,
      response_format: { type: 'json_schema' as const, json_schema: { name: 'x', schema: { type: 'object' } } },
      tools: [{ type: 'function' as const, function: { name: 'look', parameters: {} } }],
    }
    const { choices } = await client.chat.completions.create(request)
    expect(choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: null,
        tool_calls: [
          { id: 'c1', type: 'function', function: { name: 'look', arguments: '{"at":"sky"}' } },
          { id: 'c2', type: 'function', function: { name: 'go', arguments: '{}' } },
        ],
      },
    })
    expect(JSON.parse(api.jobs.last.request.body.toString())).toEqual(request)
    expect(api.jobs.last.request).toMatchObject({ needs: ['chat', 'json_schema', 'tools'], resumable: false })
    const final = await client.chat.completions.stream(request).finalMessage()
    expect(final.tool_calls).toMatchObject([{ function: { arguments: '{"at":"sky"}' } }, { id: 'c2' }])
  })

  test('what a job must know of a request is told', async () => {
    api.jobs.script = (job) => job.answer(['ok'])
    await client.chat.completions.create({ model: `toy@${toyDigest}`, messages, seed: 5, temperature: 0 })
    expect(api.jobs.last.request).toMatchObject({
      kind: 'chat',
      model: 'toy',
      digest: toyDigest,
      choices: 1,
      maxTokens: 512,
      messages: 1,
      promptBytes: 'user\nWhat is the answer?'.length,
      prefix: ['user\nWhat is the answer?'],
      seed: 5,
      resumable: true,
      stream: false,
      key: { id: 'all', weight: 1 },
    })
  })
})

const chunkOf = (chunk: OpenAI.ChatCompletionChunk) => chatChunkSchema.parse(chunk)

describe('text completions', () => {
  beforeAll(() => {
    api.jobs.script = (job) => job.answer(['a', 'b', 'c'])
  })

  test('whole and streamed', async () => {
    const whole = await client.completions.create({ model: 'toy', prompt: 'x' })
    completionSchema.parse(whole)
    expect(whole).toMatchObject({
      object: 'text_completion',
      choices: [{ text: 'abc', index: 0, logprobs: null, finish_reason: 'stop' }],
      usage: { total_tokens: 10 },
    })
    expect(whole.id).toMatch(/^cmpl-/)
    let text = ''
    for await (const chunk of await client.completions.create({ model: 'toy', prompt: 'x', stream: true })) {
      completionSchema.parse(chunk)
      text += chunk.choices[0]?.text
    }
    expect(text).toBe('abc')
  })

  test('a list of prompts gives choices for each', async () => {
    const { choices } = await client.completions.create({ model: 'toy', prompt: ['x', 'y'], n: 2 })
    expect(choices.map((choice) => choice.index)).toEqual([0, 1, 2, 3])
    expect(api.jobs.last.request).toMatchObject({ choices: 4, prompts: 2 })
  })

  test('log probabilities are parallel lists with offsets from the beginning of the prompt', async () => {
    const { choices } = await client.completions.create({ model: 'toy', prompt: 'four', logprobs: 1 })
    expect(choices[0]?.logprobs).toEqual({
      tokens: ['a', 'b', 'c'],
      token_logprobs: [-0.5, -0.5, -0.5],
      top_logprobs: [{ a: -0.5 }, { b: -0.5 }, { c: -0.5 }],
      text_offset: [4, 5, 6],
    })
    const offsets = []
    for await (const chunk of await client.completions.create({
      model: 'toy',
      prompt: 'four',
      logprobs: 0,
      stream: true,
    })) {
      offsets.push(...(chunk.choices[0]?.logprobs?.text_offset ?? []))
    }
    expect(offsets).toEqual([4, 5, 6])
  })
})

describe('embeddings and models', () => {
  beforeAll(async () => {
    await using fresh = await ApiDouble.open()
    api.jobs.script = fresh.jobs.script
  })

  test('vectors come as floats or base64, in the order of the inputs', async () => {
    const float = await client.embeddings.create({ model: 'org/vectors', input: ['a', 'b'], encoding_format: 'float' })
    embeddingListSchema.parse(float)
    expect(float.data.map((one) => one.embedding)).toEqual([
      [0.5, -1, 0.25],
      [1.5, -1, 0.25],
    ])
    expect(float.usage).toEqual({ prompt_tokens: 4, total_tokens: 4 })
    const raw = await api.post('/v1/embeddings', { model: 'org/vectors', input: 'a', encoding_format: 'base64' })
    const { data } = embeddingListSchema.parse(await raw.json())
    expect(data[0]?.embedding).toBe(Buffer.from(Float32Array.of(0.5, -1, 0.25).buffer).toString('base64'))
    const decoded = await client.embeddings.create({ model: 'org/vectors', input: 'a' })
    expect([...(decoded.data[0]?.embedding ?? [])]).toEqual([0.5, -1, 0.25])
  })

  test('dimensions are honoured when they are the model’s own, else refused', async () => {
    await client.embeddings.create({ model: 'org/vectors', input: 'a', dimensions: 3 })
    const error = await errorOf(client.embeddings.create({ model: 'org/vectors', input: 'a', dimensions: 2 }))
    expect(error).toMatchObject({ status: 400, code: 'unsupported_parameter', param: 'dimensions' })
    expect(api.jobs.last.cancelled).toBe(true)
  })

  test('a vector that is no number is an upstream error, never broken JSON', async () => {
    const { script } = api.jobs
    api.jobs.script = (job) => job.sink.vector(0, Float32Array.of(Number.NaN))
    const error = await errorOf(client.embeddings.create({ model: 'org/vectors', input: 'a' }))
    expect(error).toMatchObject({ status: 502, code: 'upstream_error' })
    api.jobs.script = script
  })

  test('models are listed with what only a pool can say, and found by name or pinned file', async () => {
    const list = await client.models.list()
    modelListSchema.parse(JSON.parse(JSON.stringify({ object: list.object, data: list.data })))
    expect(list.data.map((model) => model.id)).toEqual(['big', 'org/vectors', 'toy'])
    const toy = await client.models.retrieve('toy')
    expect(toy).toMatchObject({
      object: 'model',
      owned_by: 'pool',
      lichen: { digest: toyDigest, context: 512, engine: 'llama', workers: 1 },
    })
    expect(await client.models.retrieve('org/vectors')).toMatchObject({ id: 'org/vectors', lichen: { digest: null } })
    expect(await client.models.retrieve(`toy@${toyDigest}`)).toMatchObject({ id: `toy@${toyDigest}` })
    expect(await errorOf(client.models.retrieve('nobody'))).toMatchObject({ status: 404, code: 'model_not_found' })
    expect(await errorOf(client.models.retrieve(`toy@${'0'.repeat(64)}`))).toMatchObject({ status: 404 })
  })

  test('a key with a list of models sees and uses only those', async () => {
    const few = api.client({ apiKey: 'sk-few' })
    expect((await few.models.list()).data.map((model) => model.id)).toEqual(['toy'])
    expect(await errorOf(few.models.retrieve('big'))).toMatchObject({ status: 404 })
    expect(await errorOf(few.chat.completions.create({ model: 'big', messages }))).toMatchObject({
      status: 403,
      code: 'model_not_allowed',
    })
  })
})

describe('refusals', () => {
  beforeAll(() => {
    api.jobs.script = (job) => job.answer(['ok'])
  })

  const refuse = (
    code: 'queue_full' | 'no_worker' | 'model_not_found' | 'database_unavailable' | 'context_length_exceeded',
  ) =>
    api.jobs.refusals.push({
      code,
      message: 'No.',
      fix: 'Wait.',
      ...(code === 'queue_full' ? { retryAfterMs: 20 } : {}),
    })

  test('a wrong key is an authentication error', async () => {
    const error = await errorOf(api.client({ apiKey: 'sk-wrong' }).models.list())
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError)
    expect(error).toMatchObject({ status: 401, code: 'invalid_api_key', type: 'invalid_request_error' })
    expect(error.message).not.toContain('sk-wrong')
  })

  test('a wrong parameter is a bad request that names it', async () => {
    const error = await errorOf(client.chat.completions.create({ model: 'toy', messages, temperature: 9 }))
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ status: 400, code: 'invalid_request', param: 'temperature' })
  })

  test('a model that cannot do it says so, and which parameter asks for it', async () => {
    const tools = [{ type: 'function' as const, function: { name: 'f' } }]
    expect(await errorOf(client.chat.completions.create({ model: 'toy', messages, tools }))).toMatchObject({
      status: 400,
      code: 'unsupported_parameter',
      param: 'tools',
    })
    expect(await errorOf(client.chat.completions.create({ model: 'org/vectors', messages }))).toMatchObject({
      status: 400,
      param: 'model',
    })
  })

  test('a model nobody knows is not found', async () => {
    refuse('model_not_found')
    const error = await errorOf(client.chat.completions.create({ model: 'gpt-9', messages }))
    expect(error).toBeInstanceOf(OpenAI.NotFoundError)
  })

  test('a refused stream is a plain HTTP error', async () => {
    refuse('context_length_exceeded')
    const error = await errorOf(client.chat.completions.create({ model: 'toy', messages, stream: true }))
    expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded' })
  })

  test('no worker and no database are 503 with a time to come back', async () => {
    for (const code of ['no_worker', 'database_unavailable'] as const) {
      refuse(code)
      const error = await errorOf(client.chat.completions.create({ model: 'toy', messages }))
      expect(error).toMatchObject({ status: 503, code })
      expect(error.headers?.get('retry-after')).toBe('1')
    }
  })

  test('the official client waits and tries again after a 429', async () => {
    refuse('queue_full')
    const before = api.jobs.all.length
    const { choices } = await api.client({ maxRetries: 1 }).chat.completions.create({ model: 'toy', messages })
    expect(choices[0]?.message.content).toBe('ok')
    expect(api.jobs.all.length).toBe(before + 1)
    expect(api.jobs.refusals).toEqual([])
  })

  test('a key over its requests per minute is told when to come back', async () => {
    // a minute that does not end in the middle of it
    const now = Math.floor(systemRuntime.now() / 60_000) * 60_000 + 25_000
    await using fresh = await ApiDouble.open({ runtime: { ...systemRuntime, now: () => now } })
    const few = fresh.client({ apiKey: 'sk-few' })
    const { response } = await few.chat.completions.create({ model: 'toy', messages }).withResponse()
    expect(response.headers.get('x-ratelimit-limit-requests')).toBe('3')
    expect(response.headers.get('x-ratelimit-remaining-requests')).toBe('2')
    expect(response.headers.get('x-ratelimit-reset-requests')).toBe('35s')
    await few.chat.completions.create({ model: 'toy', messages })
    await few.chat.completions.create({ model: 'toy', messages })
    const error = await errorOf(few.chat.completions.create({ model: 'toy', messages }))
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
    expect(error).toMatchObject({ code: 'rate_limit_exceeded', type: 'rate_limit_error' })
    expect(error.headers?.get('retry-after')).toBe('35')
    expect(error.headers?.get('x-ratelimit-remaining-requests')).toBe('0')
  })

  test('a failure after the first word is an error event, and the stream has no [DONE]', async () => {
    api.jobs.script = (job) => {
      job.sink.text(0, 'Well', [])
      setTimeout(() => job.sink.failed({ code: 'worker_lost', message: 'It is gone.', fix: 'Try again.' }), 10)
    }
    let text = ''
    const read = async () => {
      for await (const chunk of await client.chat.completions.create({ model: 'toy', messages, stream: true })) {
        text += chunk.choices[0]?.delta.content ?? ''
      }
    }
    expect(await errorOf(read())).toMatchObject({ code: 'worker_lost', type: 'server_error' })
    expect(text).toBe('Well')
    const raw = await (await api.post('/v1/chat/completions', { model: 'toy', messages, stream: true })).text()
    expect(raw).not.toContain('[DONE]')
    expect(raw.trimEnd().split('\n\n').at(-1)).toMatch(/^data: \{"error":\{"message":"It is gone\. Try again\."/)
  })

  test('a failure before the first word is an HTTP error even for a stream', async () => {
    api.jobs.script = (job) => job.sink.failed({ code: 'upstream_error', message: 'No.', fix: 'Look.' })
    const error = await errorOf(client.chat.completions.create({ model: 'toy', messages, stream: true }))
    expect(error).toMatchObject({ status: 502, code: 'upstream_error' })
    expect(error.headers?.get('x-lichen-receipt')).toBe(api.jobs.last.id)
  })

  test('our own mistakes are 500 without details, and stand in the log', async () => {
    api.jobs.accept = async () => {
      throw new Error('canary: a secret path')
    }
    const error = await errorOf(client.chat.completions.create({ model: 'toy', messages }))
    expect(error).toMatchObject({ status: 500, code: 'internal_error' })
    expect(error.message).not.toContain('canary')
    expect(api.errors).toHaveLength(1)
  })
})
