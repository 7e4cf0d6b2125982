import { createParser } from 'eventsource-parser'
import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, Neighbourhood } from '#testkit'

const town = new Neighbourhood()
let client: OpenAI
const model = 'lichen-demo'
const ask = (content: string) => ({ model, messages: [{ role: 'user' as const, content }], temperature: 0 })

beforeAll(async () => {
  await town.start('up')
  client = town.client()
})
afterAll(() => town[Symbol.asyncDispose]())

test('one command, and the official client gets a sum computed by llama.cpp', async () => {
  const answer = await client.chat.completions.create(ask('3+4=?'))
  expect(answer.choices[0]?.message).toMatchObject({ role: 'assistant', content: '7' })
  expect(answer.choices[0]?.finish_reason).toBe('stop')
  expect(answer.usage?.completion_tokens).toBeGreaterThan(0)
  expect(answer.usage?.total_tokens).toBe((answer.usage?.prompt_tokens ?? 0) + (answer.usage?.completion_tokens ?? 0))
})

test('a streamed answer is the same text in the same order, with usage at the end', async () => {
  const whole = await client.chat.completions.create({ ...ask('tell me about lichen'), max_tokens: 400 })
  const stream = await client.chat.completions.create({
    ...ask('tell me about lichen'),
    max_tokens: 400,
    stream: true,
    stream_options: { include_usage: true },
  })
  let text = ''
  let usage: OpenAI.CompletionUsage | null | undefined
  let finish: string | null = null
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? ''
    finish = chunk.choices[0]?.finish_reason ?? finish
    usage = chunk.usage ?? usage
  }
  expect(text).toBe(whole.choices[0]?.message.content)
  expect(finish).toBe('stop')
  expect(usage).toEqual(whole.usage)
  expect(usage?.completion_tokens).toBeGreaterThanOrEqual(60)
})

test('on the wire a stream is Server-Sent Events that end with [DONE]', async () => {
  const response = await fetch(`${town.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${town.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...ask('echo bdfh'), stream: true }),
  })
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
  expect(response.headers.get('x-lichen-receipt')).toMatch(/^[0-9a-f-]{36}$/)
  expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
  const events: string[] = []
  createParser({ onEvent: (event) => events.push(event.data) }).feed(await response.text())
  expect(events.at(-1)).toBe('[DONE]')
  const text = events
    .slice(0, -1)
    .map((data) => JSON.parse(data).choices[0]?.delta.content ?? '')
    .join('')
  expect(text).toBe('bdfh')
})

test('three choices, a seed that repeats itself, and log probabilities', async () => {
  const once = () =>
    client.chat.completions.create({
      ...ask('tell me about lichen'),
      temperature: 1,
      seed: 7,
      n: 3,
      max_tokens: 12,
      logprobs: true,
      top_logprobs: 3,
    })
  const [first, second] = [await once(), await once()]
  expect(first.choices.map((choice) => choice.index)).toEqual([0, 1, 2])
  expect(second.choices.map((choice) => choice.message.content)).toEqual(
    first.choices.map((choice) => choice.message.content),
  )
  const logprobs = first.choices[0]?.logprobs?.content ?? []
  expect(logprobs).toHaveLength(12)
  for (const entry of logprobs) {
    expect(entry.logprob).toBeLessThanOrEqual(0)
    expect(entry.top_logprobs).toHaveLength(3)
    expect(Buffer.from(entry.bytes ?? []).toString()).toBe(entry.token)
  }
})

test('a stop string ends the answer before it and is not shown', async () => {
  const answer = await client.chat.completions.create({ ...ask('echo abcdef'), stop: ['d'] })
  expect(answer.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'abc' } })
})

test('max_tokens cuts and says so', async () => {
  const answer = await client.chat.completions.create({ ...ask('tell me about lichen'), max_completion_tokens: 5 })
  expect(answer.choices[0]?.finish_reason).toBe('length')
  expect(answer.usage?.completion_tokens).toBe(5)
})

test('an answer held to a JSON schema fits the schema', async () => {
  const answer = await client.chat.completions.create({
    ...ask('json 3+4'),
    max_tokens: 200,
    response_format: {
      type: 'json_schema',
      json_schema: {
        name: 'sum',
        schema: {
          type: 'object',
          properties: { ok: { type: 'boolean' } },
          required: ['ok'],
          additionalProperties: false,
        },
      },
    },
  })
  expect(typeof JSON.parse(answer.choices[0]?.message.content ?? '').ok).toBe('boolean')
})

test('embeddings come as numbers and as base64, and are the same', async () => {
  const input = ['a lichen', 'a stone']
  const floats = await client.embeddings.create({ model, input, encoding_format: 'float' })
  const packed = await client.embeddings.create({ model, input })
  expect(floats.data).toHaveLength(2)
  for (const [index, entry] of floats.data.entries()) {
    const same = packed.data[index]?.embedding ?? []
    expect(entry.embedding.length).toBe(same.length)
    expect(entry.embedding.every((value, at) => Math.abs(value - (same[at] ?? Number.NaN)) < 1e-6)).toBe(true)
  }
})

test('the model is listed with the digest of its file', async () => {
  const models = await client.models.list()
  expect(models.data.map((entry) => entry.id)).toContain(model)
  const one = (await client.models.retrieve(model)) as OpenAI.Model & { lichen: { digest: string } }
  expect(one.lichen.digest).toMatch(/^[0-9a-f]{64}$/)
})

test('plain completions continue a prompt', async () => {
  const answer = await client.completions.create({
    model,
    prompt: '<|user|>3+4=?<|assistant|>',
    max_tokens: 4,
    temperature: 0,
  })
  expect(answer.choices[0]?.text).toBe('7')
})

test('tools on a model that cannot use them are refused in words', async () => {
  const call = client.chat.completions.create({
    ...ask('3+4=?'),
    tools: [{ type: 'function', function: { name: 'add', parameters: { type: 'object', properties: {} } } }],
  })
  await expect(call).rejects.toMatchObject({ status: 400, code: 'unsupported_parameter', param: 'tools' })
})

test('every refusal reaches the official client as the class it expects', async () => {
  const badKey = town.client({ apiKey: 'sk-lichen-wrong' }).chat.completions.create(ask('x'))
  await expect(badKey).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
  const noModel = client.chat.completions.create({ ...ask('x'), model: 'no-such-model' })
  await expect(noModel).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  // a type that only a client without types could send
  const wrongType = client.chat.completions.create({ ...ask('x'), temperature: 'hot' as unknown as number })
  await expect(wrongType).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  const tooLong = client.chat.completions.create(ask('lichen '.repeat(20_000)))
  await expect(tooLong).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' })
})

test('two hundred people read their streams at once and each gets the whole answer', async () => {
  const words = Array.from({ length: 200 }, (_, i) =>
    [...'abcdefgh']
      .filter((_, bit) => ((i + 3) >> bit) & 1)
      .slice(0, 6)
      .join('')
      .padEnd(2, 'a'),
  )
  const answers = await Promise.all(
    words.map(async (word) => {
      const stream = await town
        .client({ timeout: 120_000 })
        .chat.completions.create({ ...ask(`echo ${word}`), stream: true })
      let text = ''
      let finish: string | null = null
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? ''
        finish = chunk.choices[0]?.finish_reason ?? finish
      }
      return { text, finish }
    }),
  )
  expect(answers.every((answer) => answer.finish === 'stop')).toBe(true)
  const right = answers.filter((answer, i) => answer.text === words[i]).length
  expect(right).toBeGreaterThanOrEqual(190)
})

test('a client that hangs up frees the worker for the next', async () => {
  const abort = new AbortController()
  const stream = await client.chat.completions.create(
    { ...ask('tell me about lichen'), max_tokens: 400, stream: true },
    { signal: abort.signal },
  )
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break
  abort.abort()
  const after = await client.chat.completions.create(ask('2+2=?'))
  expect(after.choices[0]?.message.content).toBe('4')
  // It is settled once the worker has signed for what it had sent.
  await eventually('the cancelled job', async () => {
    const jobs = await town.admin<{ data: { state: string }[] }>('GET', '/jobs?limit=20')
    return jobs.data.some((job) => job.state === 'cancelled')
  })
})
