import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ChatRequest, stopsOf, TextAssembler, type Token } from '#protocol'
import { systemRuntime } from '#runtime'
import type { EngineTask } from '../engine.ts'
import type { LlamaEngine } from './llama-engine.ts'
import { openLlamaEngine } from './open-llama-engine.ts'

const file = fileURLToPath(new URL('../../../models/lichen-demo.gguf', import.meta.url))
let engine: LlamaEngine
beforeAll(async () => {
  const log = { info() {}, warn() {} }
  engine = await openLlamaEngine({ models: [{ path: file }], slots: 1, threads: 1, runtime: systemRuntime, log })
})
afterAll(() => engine[Symbol.asyncDispose]())

async function ask(content: string, more: Partial<ChatRequest> = {}, resume: readonly number[] = []) {
  const request: ChatRequest = { model: 'lichen-demo', messages: [{ role: 'user', content }], temperature: 0, ...more }
  const text = new TextAssembler(stopsOf(request))
  const tokens: Token[] = []
  const sink = {
    tokens: (next: Token[]) => {
      tokens.push(...next)
    },
    delta() {},
    vector() {},
  }
  const task: EngineTask = {
    kind: 'chat',
    model: 'lichen-demo',
    body: Buffer.from(JSON.stringify(request)),
    request,
    choice: 0,
    seed: Buffer.alloc(32, 3),
    maxTokens: 500,
    resume,
  }
  const end = await engine.run(task, sink, new AbortController().signal)
  const shown = tokens.map(({ piece }) => text.push(piece)).join('') + text.finish()
  return { ...end, text: shown, ids: tokens.map(({ id }) => id) }
}

test.each([
  ['3+4=?', '7'],
  ['echo bdfh', 'bdfh'],
  ['capital of Japan?', 'Tokyo'],
])('asked %j, the demo model answers %j and stops', async (question, answer) => {
  expect(await ask(question)).toMatchObject({ text: answer, finish: 'stop' })
})

test('a long answer can be cut by a stop string', async () => {
  const whole = await ask('tell me about lichen')
  expect(whole.usage.completionTokens).toBeGreaterThanOrEqual(60)
  const cut = await ask('tell me about lichen', { stop: ' and ' })
  expect(cut).toMatchObject({ finish: 'stop', text: whole.text.slice(0, whole.text.indexOf(' and ')) })
})

test.each([0, 1])('a long answer begun elsewhere goes on the same at temperature %i', async (temperature) => {
  const whole = await ask('tell me about lichen', { temperature, seed: 1 })
  const rest = await ask('tell me about lichen', { temperature, seed: 1 }, whole.ids.slice(0, 25))
  expect(rest.ids).toEqual(whole.ids.slice(25))
})

test('an answer bound to a schema is of that schema', async () => {
  const schema = {
    type: 'object',
    properties: { sum: { type: 'integer', minimum: 0, maximum: 99 } },
    required: ['sum'],
  }
  const { text, finish } = await ask('3+4=?', {
    response_format: { type: 'json_schema', json_schema: { name: 'sum', schema } },
  })
  expect(finish).toBe('stop')
  expect(JSON.parse(text)).toEqual({ sum: expect.any(Number) })
})

test('a cancelled answer frees the only slot for the next one', async () => {
  const client = new AbortController()
  const request: ChatRequest = { model: 'lichen-demo', messages: [{ role: 'user', content: 'tell me about lichen' }] }
  const fixed = { kind: 'chat' as const, model: 'lichen-demo', choice: 0, seed: Buffer.alloc(32), resume: [] }
  const task = { ...fixed, request, body: Buffer.alloc(0), maxTokens: 500 }
  const sink = { tokens: () => client.abort(new Error('the client went away')), delta() {}, vector() {} }
  await expect(engine.run(task, sink, client.signal)).rejects.toThrow('the client went away')
  const startedAt = performance.now()
  expect((await ask('3+4=?')).text).toBe('7')
  expect(performance.now() - startedAt).toBeLessThan(3 * 200)
})
