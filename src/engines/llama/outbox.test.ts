import { expect, test } from 'vitest'
import { simulatedRuntime } from '#testkit'
import type { EngineEvent } from './engine-messages.ts'
import { Outbox } from './outbox.ts'

const token = (id: number, n: number): EngineEvent => ({
  type: 'tokens',
  id,
  tokens: [{ id: n, piece: Buffer.from([n]) }],
})
const end = (id: number): EngineEvent => ({
  type: 'result',
  id,
  result: { type: 'end', end: { finish: 'stop', usage: { promptTokens: 1, completionTokens: 1 } } },
})
const turn = () => new Promise((resolve) => setImmediate(resolve))

function outbox() {
  const runtime = simulatedRuntime()
  const sent: string[] = []
  const box = new Outbox(runtime, (events) => {
    const say = (event: EngineEvent) =>
      event.type === 'tokens' ? `${event.id}:${event.tokens.map(({ id }) => id).join('')}` : event.type
    sent.push(events.map(say).join(' '))
  })
  return { runtime, sent, box }
}

test('the first token leaves at once, with what the same turn brings', async () => {
  const { sent, box } = outbox()
  box.put(token(1, 1))
  box.put(token(2, 1))
  await turn()
  expect(sent).toEqual(['1:1 2:1'])
})

test('tokens of a fast stream gather, each task’s together and in order', async () => {
  const { runtime, sent, box } = outbox()
  box.put(token(1, 1))
  await turn()
  for (const n of [2, 3, 4]) {
    box.put(token(1, n))
    box.put(token(2, n))
    await turn()
  }
  expect(sent).toEqual(['1:1'])
  runtime.advance(4)
  expect(sent).toEqual(['1:1', '1:234 2:234'])
})

test('the end does not wait, and comes after the tokens', async () => {
  const { sent, box } = outbox()
  box.put(token(1, 1))
  await turn()
  box.put(token(1, 2))
  box.put(end(1))
  await turn()
  expect(sent).toEqual(['1:1', '1:2 result'])
})

test('a slow stream never waits', async () => {
  const { runtime, sent, box } = outbox()
  for (const n of [1, 2, 3]) {
    box.put(token(1, n))
    await turn()
    runtime.advance(30)
  }
  expect(sent).toEqual(['1:1', '1:2', '1:3'])
})
