import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ChatRequest } from '#protocol'
import { systemRuntime } from '#runtime'
import type { EngineTask } from '../engine.ts'
import type { LlamaEngine } from './llama-engine.ts'
import { openLlamaEngine } from './open-llama-engine.ts'

const file = fileURLToPath(new URL('../../../models/lichen-demo.gguf', import.meta.url))
let engine: LlamaEngine
beforeAll(async () => {
  const log = { info() {}, warn() {} }
  engine = await openLlamaEngine({ models: [{ path: file }], slots: 4, threads: 1, runtime: systemRuntime, log })
})
afterAll(() => engine[Symbol.asyncDispose]())

async function ask(content: string): Promise<string> {
  const request: ChatRequest = { model: 'lichen-demo', messages: [{ role: 'user', content }], temperature: 0 }
  const pieces: Buffer[] = []
  const sink = {
    tokens: (tokens: readonly { piece: Buffer }[]) => {
      for (const { piece } of tokens) pieces.push(piece)
    },
    delta() {},
    vector() {},
  }
  const fixed = { kind: 'chat' as const, model: 'lichen-demo', choice: 0, seed: Buffer.alloc(32), resume: [] }
  const task: EngineTask = { ...fixed, request, body: Buffer.alloc(0), maxTokens: 500 }
  await engine.run(task, sink, new AbortController().signal)
  return Buffer.concat(pieces).toString()
}

// Batches in which answers go on while prompts of other lengths come in: the case in which logits change places.
test('answers computed side by side are those computed alone', async () => {
  const questions = ['tell me about lichen', 'echo bdfh', 'capital of Japan?', '3+4=?', 'echo abcdef', 'json 3+4']
  const alone = new Map<string, string>()
  for (const question of questions) alone.set(question, await ask(question))
  const lanes = [
    Array.from({ length: 8 }, () => questions[0] ?? ''),
    ...[1, 2, 3].map((lane) => Array.from({ length: 100 }, (_, n) => questions[1 + ((n * lane) % 5)] ?? '')),
  ]
  await Promise.all(
    lanes.map(async (lane) => {
      for (const question of lane) expect(await ask(question), question).toBe(alone.get(question))
    }),
  )
})
