import { expect, test } from 'vitest'
import type { ChatRequest } from '#protocol'
import { canResume } from './resumable.ts'

const chat = (more: Partial<ChatRequest>): ChatRequest => ({ model: 'm', messages: [], ...more })

test('any free answer can be continued; one bound to JSON only when no dice are thrown; vectors never', () => {
  const json = { response_format: { type: 'json_object' as const } }
  expect(canResume('chat', chat({}))).toBe(true)
  expect(canResume('chat', chat({ response_format: { type: 'text' }, temperature: 1 }))).toBe(true)
  expect(canResume('chat', chat({ ...json, temperature: 0 }))).toBe(true)
  expect(canResume('chat', chat({ ...json, temperature: 0.1 }))).toBe(false)
  expect(canResume('chat', chat(json))).toBe(false)
  expect(canResume('completion', { model: 'm', prompt: 'a' })).toBe(true)
  expect(canResume('embedding', { model: 'm', input: 'a' })).toBe(false)
})
