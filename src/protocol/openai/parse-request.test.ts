import { describe, expect, test } from 'vitest'
import { choicesOf, completionPromptOf, featuresNeeded, maxTokensOf, type OpenAiKind, stopsOf } from './index.ts'
import { parseOpenAiRequest } from './parse-request.ts'

const hello = [{ role: 'user', content: 'hello' }]
const parse = (kind: OpenAiKind, body: unknown) => parseOpenAiRequest(kind, Buffer.from(JSON.stringify(body)))
const chat = (more: object = {}) => parse('chat', { model: 'm', messages: hello, ...more })
const refusalOf = (result: ReturnType<typeof parse>) => (result.ok ? undefined : result.refusal)
const chatRequest = (more: object = {}) => {
  const result = parseOpenAiRequest('chat', Buffer.from(JSON.stringify({ model: 'm', messages: hello, ...more })))
  if (!result.ok) throw new Error(result.refusal.message)
  return result.request
}

test('everything a chat client may say that this pool can honour is accepted', () => {
  const result = chat({
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'developer', content: [{ type: 'text', text: 'Be kind.' }] },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Look' },
          { type: 'image_url', image_url: { url: 'data:,' } },
        ],
        name: 'Ada',
      },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
      },
      { role: 'tool', content: '42', tool_call_id: 'c1' },
      {
        role: 'assistant',
        content: 'So.',
        refusal: null,
        annotations: [],
        audio: null,
        function_call: null,
        parsed: null,
      },
      { role: 'user', content: 'And?' },
    ],
    temperature: 0.5,
    top_p: 0.9,
    seed: 2 ** 60,
    stop: ['a', 'b'],
    max_completion_tokens: 5,
    n: 2,
    logprobs: true,
    top_logprobs: 3,
    logit_bias: { '12': -100 },
    presence_penalty: 1,
    frequency_penalty: -1,
    response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' }, strict: true } },
    tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'object' }, strict: true } }],
    tool_choice: { type: 'function', function: { name: 'f' } },
    parallel_tool_calls: false,
    stream: true,
    stream_options: { include_usage: true, include_obfuscation: false },
  })
  expect(refusalOf(result)).toBeUndefined()
})

test('neutral values and inert members change nothing and are accepted', () => {
  const neutral = {
    user: 'u',
    metadata: { a: 'b' },
    store: false,
    service_tier: 'auto',
    parallel_tool_calls: true,
    logit_bias: {},
    presence_penalty: 0,
    frequency_penalty: 0,
    n: 1,
    stop: [],
    tools: [],
    tool_choice: 'auto',
    functions: [],
    function_call: 'none',
    modalities: ['text'],
    response_format: { type: 'text' },
    reasoning_effort: 'none',
    verbosity: 'medium',
    prompt_cache_key: 'k',
    prompt_cache_retention: '24h',
    safety_identifier: 's',
    prediction: { type: 'content', content: 'x' },
  }
  expect(refusalOf(chat(neutral))).toBeUndefined()
  const nulls = Object.fromEntries(Object.keys(neutral).map((key) => [key, null]))
  expect(
    refusalOf(
      chat({ ...nulls, temperature: null, top_p: null, seed: null, max_tokens: null, stream: null, audio: null }),
    ),
  ).toBeUndefined()
})

test.each([
  ['audio', { audio: { voice: 'ash', format: 'wav' } }],
  ['modalities', { modalities: ['text', 'audio'] }],
  ['store', { store: true }],
  ['service_tier', { service_tier: 'flex' }],
  ['functions', { functions: [{ name: 'f' }] }],
  ['web_search_options', { web_search_options: {} }],
  ['reasoning_effort', { reasoning_effort: 'high' }],
  ['verbosity', { verbosity: 'low' }],
  ['n', { n: 17 }],
  ['tools[0].type', { tools: [{ type: 'custom', custom: { name: 'x' } }] }],
  ['messages[0].content[0]', { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: {} }] }] }],
  ['top_k', { top_k: 40 }],
  ['messages[0].weight', { messages: [{ role: 'user', content: 'x', weight: 1 }] }],
])('what would change the answer and cannot be honoured is refused by name: %s', (param, more) => {
  expect(refusalOf(chat(more))).toMatchObject({ code: 'unsupported_parameter', param })
})

test('an unknown member is refused in the words clients know', () => {
  expect(refusalOf(chat({ frobnicate: 1 }))?.message).toBe('Unrecognized request argument supplied: frobnicate.')
})

test.each([
  ['model', { model: 7 }, "Invalid type for 'model': expected a string, but got an integer instead."],
  ['model', { model: undefined }, "Missing required parameter: 'model'."],
  ['messages', { messages: undefined }, "Missing required parameter: 'messages'."],
  ['messages', { messages: [] }, "Invalid 'messages': array too short. Expected at least 1 item(s), but got 0."],
  ['messages[0].content', { messages: [{ role: 'user' }] }, "Missing required parameter: 'messages[0].content'."],
  ['messages[0].role', { messages: [{ role: 'queen', content: '' }] }, "Invalid value for 'messages[0].role'."],
  ['messages[0].content[0].text', { messages: [{ role: 'user', content: [{ type: 'text' }] }] }, 'Missing required'],
  ['messages[0].content', { messages: [{ role: 'assistant' }] }, 'expected a string, got null'],
  ['messages[1].role', { messages: [...hello, { role: 'tool', content: '', tool_call_id: 'x' }] }, 'preceding message'],
  [
    'temperature',
    { temperature: 'hot' },
    "Invalid type for 'temperature': expected a number, but got a string instead.",
  ],
  [
    'temperature',
    { temperature: 3 },
    "Invalid 'temperature': above maximum value. Expected a value <= 2, but got 3 instead.",
  ],
  ['max_tokens', { max_tokens: 1.5 }, 'expected an integer, but got a decimal'],
  ['max_tokens', { max_tokens: 0 }, 'Expected a value >= 1'],
  ['seed', { seed: 1.5 }, "Invalid value for 'seed'."],
  ['stop', { stop: ['1', '2', '3', '4', '5'] }, 'array too long'],
  ['logit_bias.x', { logit_bias: { x: 1 } }, 'Invalid value'],
  ['top_logprobs', { top_logprobs: 2 }, "only allowed when 'logprobs' is enabled"],
  ['stream_options', { stream_options: {} }, "only allowed when 'stream' is enabled"],
  ['max_tokens', { max_tokens: 1, max_completion_tokens: 1 }, 'at the same time'],
  ['tool_choice', { tool_choice: 'required' }, "only allowed when 'tools' are specified"],
  ['response_format.type', { response_format: { type: 'yaml' } }, 'Invalid value'],
  ['response_format.json_schema', { response_format: { type: 'json_schema' } }, 'Missing required'],
])('a wrong %s is explained', (param, more, message) => {
  const refusal = refusalOf(chat(more))
  expect(refusal).toMatchObject({ code: 'invalid_request', param })
  expect(refusal?.message).toContain(message)
})

test.each(['null', '[]', '"x"', '7'])('a body that is %s is no request', (body) => {
  expect(refusalOf(parseOpenAiRequest('chat', Buffer.from(body)))).toMatchObject({ code: 'invalid_request' })
})

test('a body that is no JSON, or says a thing twice, is refused before anything is read', () => {
  expect(refusalOf(parseOpenAiRequest('chat', Buffer.from('{')))?.code).toBe('invalid_json')
  expect(refusalOf(parseOpenAiRequest('chat', Buffer.from('{"model":"a","model":"b"}')))?.code).toBe('duplicate_key')
})

test('an error never quotes the conversation', () => {
  const refusal = refusalOf(chat({ messages: [{ role: 'user', content: 'canary' }], temperature: 'canary', stop: 5 }))
  expect(JSON.stringify(refusal)).not.toContain('canary')
})

describe('text completions', () => {
  const completion = (more: object = {}) => parse('completion', { model: 'm', prompt: 'p', ...more })

  test('a prompt is a string or a list of strings; each gives its own choices', () => {
    const result = parseOpenAiRequest(
      'completion',
      Buffer.from(JSON.stringify({ model: 'm', prompt: ['a', 'b'], n: 2 })),
    )
    if (!result.ok) throw new Error(result.refusal.message)
    expect(choicesOf('completion', result.request)).toBe(4)
    expect([0, 1, 2, 3].map((choice) => completionPromptOf(result.request, choice))).toEqual(['a', 'a', 'b', 'b'])
  })

  test.each([
    ['prompt', 'unsupported_parameter', { prompt: [1, 2] }],
    ['prompt', 'unsupported_parameter', { prompt: [[1], [2]] }],
    ['prompt', 'invalid_request', { prompt: null }],
    ['prompt', 'unsupported_parameter', { prompt: Array(17).fill('x') }],
    ['echo', 'unsupported_parameter', { echo: true }],
    ['suffix', 'unsupported_parameter', { suffix: 'end' }],
    ['best_of', 'unsupported_parameter', { best_of: 3 }],
    ['max_tokens', 'unsupported_parameter', { max_tokens: 0 }],
    ['logprobs', 'invalid_request', { logprobs: 6 }],
    ['logprobs', 'invalid_request', { logprobs: true }],
    ['messages', 'unsupported_parameter', { messages: hello }],
  ])('%s is refused with %s', (param, code, more) => {
    expect(refusalOf(completion(more))).toMatchObject({ code, param })
  })

  test('neutral values are accepted', () => {
    expect(refusalOf(completion({ echo: false, suffix: null, best_of: 2, n: 2, logprobs: 0 }))).toBeUndefined()
  })
})

describe('embeddings', () => {
  const embedding = (more: object = {}) => parse('embedding', { model: 'm', input: 'x', ...more })

  test.each([
    ['a string', {}],
    ['strings', { input: ['a', 'b'], encoding_format: 'base64', dimensions: 3, user: 'u' }],
  ])('%s', (_, more) => expect(refusalOf(embedding(more))).toBeUndefined())

  test.each([
    ['unsupported_parameter', { input: [1, 2, 3] }],
    ['unsupported_parameter', { input: [[1], [2]] }],
    ['invalid_request', { input: '' }],
    ['invalid_request', { input: [] }],
    ['invalid_request', { input: ['a', ''] }],
    ['invalid_request', { input: {} }],
    ['invalid_request', { input: Array(2049).fill('x') }],
  ])('%s otherwise', (code, more) => expect(refusalOf(embedding(more))?.code).toBe(code))
})

test('what a model must be able to do follows from the request', () => {
  const features = (more: object) => featuresNeeded('chat', chatRequest(more)).map((need) => need.feature)
  expect(features({})).toEqual(['chat'])
  expect(features({ logprobs: true, response_format: { type: 'json_object' } })).toEqual([
    'chat',
    'logprobs',
    'json_schema',
  ])
  expect(features({ tools: [{ type: 'function', function: { name: 'f' } }] })).toEqual(['chat', 'tools'])
  const image = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }]
  expect(featuresNeeded('chat', chatRequest({ messages: image }))).toContainEqual({
    feature: 'vision',
    param: 'messages[0].content',
  })
})

test('limits and stops are read from whichever name the client used', () => {
  expect(maxTokensOf(chatRequest({ max_tokens: 3 }))).toBe(3)
  expect(maxTokensOf(chatRequest({ max_completion_tokens: 4 }))).toBe(4)
  expect(maxTokensOf(chatRequest())).toBeUndefined()
  expect(stopsOf(chatRequest({ stop: 'x' }))).toEqual(['x'])
  expect(stopsOf(chatRequest({ stop: ['x', ''] }))).toEqual(['x'])
})
