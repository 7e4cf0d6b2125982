import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { type ChatRequest, type EmbeddingRequest, noTokenId, PoolError, type Token } from '#protocol'
import { systemRuntime } from '#runtime'
import type { EngineSink, EngineTask } from '../engine.ts'
import { findLocalUpstreams } from './find-local-upstreams.ts'
import { openOpenAiEngine } from './open-openai-engine.ts'
import type { OpenAiEngineOptions } from './upstream-engine.ts'

type Answer = (body: Record<string, unknown>, response: ServerResponse, request: IncomingMessage) => void

const opened: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

const models = { object: 'list', data: [{ id: 'llama3:8b', max_model_len: 4096 }, { id: 'tiny' }] }

/** An OpenAI-compatible server on this machine. `answer` serves every POST. */
async function upstream(answer: Answer, list: unknown = models, port = 0) {
  const seen: { headers: IncomingMessage['headers']; url: string; body: Record<string, unknown> }[] = []
  const state = { closed: 0, asides: 0, list }
  const server = createServer(async (request, response) => {
    response.on('close', () => {
      if (!response.writableFinished) state.closed++
    })
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (request.method === 'GET') {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(state.list))
      return
    }
    const body = JSON.parse(Buffer.concat(chunks).toString())
    // Whether it goes on with what was begun is asked without a stream.
    if (body.stream !== true && request.url !== '/v1/embeddings') state.asides++
    else seen.push({ headers: request.headers, url: request.url ?? '', body })
    answer(body, response, request)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  opened.push(close)
  return { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, state, close, server }
}

const log = { info() {}, warn() {} }
async function engineOn(baseUrl: string, more: Partial<OpenAiEngineOptions> = {}) {
  const engine = await openOpenAiEngine({ baseUrl, runtime: systemRuntime, log, ...more })
  opened.push(() => engine[Symbol.asyncDispose]())
  return engine
}

function chatTask(request: Partial<ChatRequest> = {}, more: Partial<EngineTask> = {}): EngineTask {
  const whole = { model: 'tiny', messages: [{ role: 'user' as const, content: 'hi' }], ...request }
  const fixed = {
    kind: 'chat' as const,
    model: 'tiny',
    choice: 0,
    seed: Buffer.alloc(32, 5),
    maxTokens: 20,
    resume: [],
  }
  return { ...fixed, body: Buffer.from(JSON.stringify(whole)), request: whole, ...more } as EngineTask
}

function collector() {
  const tokens: Token[] = []
  const deltas: Record<string, unknown>[] = []
  const vectors: number[][] = []
  const sink: EngineSink = {
    tokens: (more) => {
      tokens.push(...more)
    },
    delta: (delta) => deltas.push(delta),
    vector: (index, values) => {
      vectors[index] = [...values]
    },
  }
  const text = () => Buffer.concat(tokens.map(({ piece }) => piece)).toString()
  return { tokens, deltas, vectors, sink, text }
}

const signal = () => new AbortController().signal
const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`
const delta = (content: string, more: object = {}) => ({ choices: [{ index: 0, delta: { content }, ...more }] })
const finished = (reason = 'stop') => ({ choices: [{ index: 0, delta: {}, finish_reason: reason }] })
const usage = { choices: [], usage: { prompt_tokens: 7, completion_tokens: 3 } }

/** Streams the events, then ends the response. */
const streams =
  (...events: (unknown | string)[]): Answer =>
  (_, response) => {
    response.setHeader('content-type', 'text/event-stream; charset=utf-8')
    response.end(events.map((one) => (typeof one === 'string' ? one : event(one))).join(''))
  }

test('an answer is relayed as it comes, with the usage the upstream reports', async () => {
  const { baseUrl, seen } = await upstream(
    streams(delta('Hel'), ': ping\n\n', delta('lo €'), finished(), usage, 'data: [DONE]\n\n'),
  )
  const engine = await engineOn(`${baseUrl}/`, { apiKey: 'sk-secret' })
  const got = collector()
  const end = await engine.run(
    chatTask({ temperature: 0.5, user: 'someone', metadata: { a: 'b' } }),
    got.sink,
    signal(),
  )
  expect(end).toEqual({ finish: 'stop', usage: { promptTokens: 7, completionTokens: 3 } })
  expect(got.text()).toBe('Hello €')
  expect(got.tokens.every(({ id }) => id === noTokenId)).toBe(true)
  expect(seen[0]).toMatchObject({ url: '/v1/chat/completions', headers: { authorization: 'Bearer sk-secret' } })
  expect(seen[0]?.body).toEqual({
    model: 'tiny',
    messages: [{ role: 'user', content: 'hi' }],
    temperature: 0.5,
    n: 1,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: 20,
  })
})

test('what the upstream has is offered, with the context it says or the usual one', async () => {
  const { baseUrl } = await upstream(streams())
  const all = await engineOn(baseUrl, { contextTokens: 1000 })
  expect(all.offers.map(({ name, contextTokens, digest }) => [name, contextTokens, digest])).toEqual([
    ['llama3:8b', 4096, null],
    ['tiny', 1000, null],
  ])
  expect(all.offers[0]?.features).not.toContain('resume')
  const some = await engineOn(baseUrl, { models: [{ name: 'mine', upstream: 'tiny' }, { name: 'absent' }] })
  expect(some.offers.map(({ name }) => name)).toEqual(['mine'])
})

test('a model has its own name there, and each choice its own seed', async () => {
  const { baseUrl, seen } = await upstream(streams(delta('x'), finished()))
  const engine = await engineOn(baseUrl, { models: [{ name: 'mine', upstream: 'tiny' }] })
  const request = { model: 'mine', seed: 42, n: 3, max_completion_tokens: 9 }
  for (const choice of [0, 1, 2])
    await engine.run(chatTask(request, { model: 'mine', choice }), collector().sink, signal())
  expect(seen.map(({ body }) => [body.model, body.n, body.max_completion_tokens, body.max_tokens])).toEqual(
    Array(3).fill(['tiny', 1, 20, undefined]),
  )
  const seeds = seen.map(({ body }) => body.seed)
  expect(seeds[0]).toBe(42)
  expect(new Set(seeds).size).toBe(3)
})

test('a text completion sends the one prompt that the choice belongs to', async () => {
  const text = (piece: string, more = {}) => ({ choices: [{ index: 0, text: piece, ...more }] })
  const { baseUrl, seen } = await upstream(
    streams(text('one'), text(' two', { finish_reason: 'length' }), 'data: [DONE]\n\n'),
  )
  const engine = await engineOn(baseUrl)
  const request = { model: 'tiny', prompt: ['a', 'b'], n: 2 }
  const task = chatTask({}, { kind: 'completion', request, body: Buffer.from(JSON.stringify(request)), choice: 3 })
  const got = collector()
  expect(await engine.run(task, got.sink, signal())).toEqual({
    finish: 'length',
    usage: { promptTokens: 0, completionTokens: 2 },
  })
  expect(got.text()).toBe('one two')
  expect(seen[0]).toMatchObject({ url: '/v1/completions', body: { prompt: 'b', n: 1 } })
})

test('tool calls come through as they are, and end the answer as such', async () => {
  const call = { tool_calls: [{ index: 0, id: 'c1', type: 'function', function: { name: 'f', arguments: '{"a"' } }] }
  const { baseUrl } = await upstream(
    streams(
      { choices: [{ index: 0, delta: { role: 'assistant', content: null, ...call } }] },
      { choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: ':1}' } }] } }] },
      finished('tool_calls'),
    ),
  )
  const engine = await engineOn(baseUrl)
  const got = collector()
  const end = await engine.run(chatTask(), got.sink, signal())
  expect(end.finish).toBe('tool_calls')
  expect(got.deltas).toEqual([call, { tool_calls: [{ index: 0, function: { arguments: ':1}' } }] }])
  expect(got.tokens).toEqual([])
})

test('log probabilities are passed on, token by token', async () => {
  const top_logprobs = [
    { token: 'Hi', bytes: [72, 105], logprob: -0.1 },
    { token: '?', bytes: null, logprob: -99999 },
  ]
  const content = [
    { token: 'Hi', bytes: [72, 105], logprob: -0.1, top_logprobs },
    { token: '!', bytes: null, logprob: -0.5, top_logprobs: [] },
  ]
  const { baseUrl } = await upstream(streams(delta('Hi!', { logprobs: { content } }), finished()))
  const engine = await engineOn(baseUrl)
  const got = collector()
  await engine.run(chatTask({ logprobs: true, top_logprobs: 2 }), got.sink, signal())
  expect(got.tokens.map(({ piece, logprob }) => [piece.toString(), logprob])).toEqual([
    ['Hi', -0.1],
    ['!', -0.5],
  ])
  expect(got.tokens[0]?.top?.map(({ piece, logprob }) => [piece.toString(), logprob])).toEqual([
    ['Hi', -0.1],
    ['?', -9999],
  ])
})

test('log probabilities that do not spell the text never replace it', async () => {
  const content = [{ token: 'other', bytes: null, logprob: -1 }]
  const { baseUrl } = await upstream(streams(delta('text', { logprobs: { content } }), finished()))
  const engine = await engineOn(baseUrl)
  const got = collector()
  await engine.run(chatTask({ logprobs: true }), got.sink, signal())
  expect(got.text()).toBe('text')
})

test('a long text becomes several pieces, each short enough for the wire', async () => {
  const text = '€'.repeat(40_000)
  const { baseUrl } = await upstream(streams(delta(text), finished()))
  const engine = await engineOn(baseUrl)
  const got = collector()
  await engine.run(chatTask(), got.sink, signal())
  expect(got.text()).toBe(text)
  expect(Math.max(...got.tokens.map(({ piece }) => piece.length))).toBeLessThan(65_536)
})

test('vectors are asked for in batches and come back in order', async () => {
  const { baseUrl, seen } = await upstream((body, response) => {
    const data = (body.input as string[]).map((text, index) => ({ index, embedding: [Number(text), 0.5] })).reverse()
    response.end(JSON.stringify({ data, usage: { prompt_tokens: data.length } }))
  })
  const engine = await engineOn(baseUrl)
  const request: EmbeddingRequest = { model: 'tiny', input: Array.from({ length: 150 }, (_, i) => String(i)) }
  const got = collector()
  const end = await engine.run(chatTask({}, { kind: 'embedding', request }), got.sink, signal())
  expect(end).toEqual({ finish: 'stop', usage: { promptTokens: 150, completionTokens: 0 } })
  expect(got.vectors.map(([first]) => first)).toEqual(Array.from({ length: 150 }, (_, i) => i))
  expect(seen.map(({ body }) => (body.input as string[]).length)).toEqual([64, 64, 22])
})

async function failureOf(answer: Answer, more: Partial<OpenAiEngineOptions> = {}): Promise<Error> {
  const { baseUrl } = await upstream(answer)
  const engine = await engineOn(baseUrl, { apiKey: 'sk-secret', ...more })
  const failed = engine.run(chatTask(), collector().sink, signal()).then(
    () => new Error('it succeeded'),
    (error: Error) => error,
  )
  return failed
}
const status =
  (code: number, body: unknown): Answer =>
  (_, response) => {
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }

test('a request the upstream cannot serve is refused in its words, and no other worker is bothered', async () => {
  const error = { message: 'This model has 4096 tokens.', code: 'context_length_exceeded', param: 'messages' }
  const refused = await failureOf(status(400, { error }))
  expect(refused).toBeInstanceOf(PoolError)
  expect(refused).toMatchObject({ code: 'context_length_exceeded', refusal: { param: 'messages' } })
  expect(refused.message).toContain('4096')
  expect(await failureOf(status(422, { error: 'bad\nthing' }))).toMatchObject({ code: 'invalid_request' })
  expect(await failureOf(status(400, 'not an error object'))).toMatchObject({ code: 'invalid_request' })
})

test('a key the upstream does not know is the operator’s to fix and is never repeated', async () => {
  const refused = await failureOf(status(401, { error: { message: 'Incorrect API key provided: sk-secret' } }))
  expect(refused).toMatchObject({ code: 'upstream_error' })
  expect(JSON.stringify(refused)).not.toContain('sk-secret')
  const echoed = await failureOf(status(400, { error: { message: 'you sent sk-secret' } }))
  expect(JSON.stringify(echoed) + echoed.message).not.toContain('sk-secret')
})

test.each([404, 429, 500, 502, 503, 302])('status %i means that another worker may do better', async (code) => {
  expect(await failureOf(status(code, { error: { message: 'secret details' } }))).not.toBeInstanceOf(PoolError)
})

const broken: readonly [string, Answer][] = [
  ['stops without a finish reason', streams(delta('half'))],
  ['says [DONE] too early', streams(delta('half'), 'data: [DONE]\n\n')],
  ['sends an event that is not JSON', streams(delta('a'), 'data: {"choices": [\n\n', finished())],
  ['sends an event of another shape', streams({ choices: 'none' }, finished())],
  ['breaks off with an error event', streams(delta('a'), { error: { message: 'CUDA out of memory' } })],
  ['sends an event without end', streams(`data: {"choices":[{"delta":{"content":"${'x'.repeat(2 ** 21)}"}}]}\n\n`)],
  ['does not stream', (_, response) => response.setHeader('content-type', 'application/json').end('{}')],
  [
    'cuts the connection',
    (_, response) => {
      response.setHeader('content-type', 'text/event-stream')
      response.write(event(delta('half')))
      setTimeout(() => response.destroy(), 20)
    },
  ],
  [
    'falls silent',
    (_, response) => {
      response.setHeader('content-type', 'text/event-stream')
      response.write(event(delta('half')))
    },
  ],
  ['never answers', () => {}],
]
test.each(broken)('an upstream that %s is an error that may be retried, never a short answer', async (_, answer) => {
  const failure = await failureOf(answer, { patience: { firstByteMsMax: 500, idleMsMax: 500 } })
  expect(failure).toBeInstanceOf(Error)
  expect(failure).not.toBeInstanceOf(PoolError)
  expect(failure.message).not.toBe('it succeeded')
})

test('more than an answer may weigh is cut off', async () => {
  const megabyte = event(delta('y'.repeat(1_000_000)))
  const failure = await failureOf((_, response) => {
    response.setHeader('content-type', 'text/event-stream')
    const pour = () => {
      while (!response.destroyed && response.write(megabyte));
      if (!response.destroyed) response.once('drain', pour)
    }
    pour()
  })
  expect(failure.message).toContain('more than it may')
})

test('cancelling ends the upstream’s work too', async () => {
  const { baseUrl, state } = await upstream((_, response) => {
    response.setHeader('content-type', 'text/event-stream')
    response.write(event(delta('endless')))
  })
  const engine = await engineOn(baseUrl)
  const client = new AbortController()
  const got = collector()
  const running = engine.run(chatTask(), got.sink, client.signal)
  await expect.poll(() => got.tokens.length).toBe(1)
  client.abort(new Error('the client went away'))
  await expect(running).rejects.toThrow('the client went away')
  await expect.poll(() => state.closed).toBe(1)
})

test('a slow reader holds the upstream back', async () => {
  let written = 0
  const { baseUrl } = await upstream((_, response) => {
    response.setHeader('content-type', 'text/event-stream')
    const pour = () => {
      let flowing = true
      for (; written < 30 && flowing; written++) flowing = response.write(event(delta('z'.repeat(500_000))))
      if (written < 30) response.once('drain', pour)
      else response.end(event(finished()))
    }
    pour()
  })
  const engine = await engineOn(baseUrl)
  const { promise: hold, resolve: release } = Promise.withResolvers<void>()
  const running = engine.run(chatTask(), { ...collector().sink, tokens: () => hold }, signal())
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(written).toBeLessThan(30)
  release()
  expect((await running).finish).toBe('stop')
})

test('a sink that fails ends the run with its own error', async () => {
  const { baseUrl } = await upstream(streams(delta('a'), finished()))
  const engine = await engineOn(baseUrl)
  const sink = { ...collector().sink, tokens: () => Promise.reject(new Error('the session closed')) }
  await expect(engine.run(chatTask(), sink, signal())).rejects.toThrow('the session closed')
})

test('an answer begun elsewhere is not continued', async () => {
  const { baseUrl } = await upstream(streams(delta('a'), finished()))
  const engine = await engineOn(baseUrl)
  await expect(engine.run(chatTask({}, { resume: [1, 2] }), collector().sink, signal())).rejects.toMatchObject({
    code: 'worker_lost',
  })
})

test('connections are used again', async () => {
  const sockets = new Set<unknown>()
  const { baseUrl } = await upstream((body, response, request) => {
    sockets.add(request.socket)
    streams(delta('a'), finished(), usage, 'data: [DONE]\n\n')(body, response, request)
  })
  const engine = await engineOn(baseUrl)
  for (let i = 0; i < 5; i++) await engine.run(chatTask(), collector().sink, signal())
  expect(sockets.size).toBeLessThan(4)
})

test('an upstream that goes away is no longer offered, and is offered again when it is back', async () => {
  const first = await upstream(streams(delta('a'), finished()))
  const said: string[] = []
  const engine = await engineOn(first.baseUrl)
  engine.onDown = (reason) => said.push(reason)
  let changes = 0
  engine.onOffersChanged = () => changes++
  await first.close()
  await expect(engine.run(chatTask(), collector().sink, signal())).rejects.toThrow('cannot be reached')
  await expect.poll(() => engine.offers.length).toBe(0)
  expect(engine.problem).toContain('cannot be reached')
  expect([said.length, changes]).toEqual([1, 1])
  await upstream(streams(delta('a'), finished()), models, Number(new URL(first.baseUrl).port))
  await engine.refresh()
  expect([engine.offers.length, changes, engine.problem]).toEqual([2, 2, undefined])
})

test('an engine opens although its upstream is not there yet, and says so', async () => {
  const engine = await engineOn('http://127.0.0.1:9')
  expect([engine.offers.length, engine.problem !== undefined]).toEqual([0, true])
})

test.each(['', 'localhost:8080', 'ftp://host/', 'http://user:pass@host/'])(
  '%j is no address of an upstream',
  async (baseUrl) => {
    await expect(engineOn(baseUrl)).rejects.toMatchObject({ code: 'config_invalid' })
  },
)

test('a server on this machine is found, a stranger is not mistaken for one', async () => {
  const { baseUrl } = await upstream(streams())
  const stranger = await upstream(streams(), 'hello')
  const found = await findLocalUpstreams(systemRuntime, [
    { name: 'Ollama', baseUrl },
    { name: 'stranger', baseUrl: stranger.baseUrl },
    { name: 'nobody', baseUrl: 'http://127.0.0.1:9' },
  ])
  expect(found).toEqual([{ name: 'Ollama', baseUrl, models: ['llama3:8b', 'tiny'] }])
})
