import { expect, test } from 'vitest'
import { simulatedRuntime } from '#testkit'
import { engineLimits } from '../limits.ts'
import { EvaluationWatch, watched } from './evaluation-watch.ts'

const { stepMsMax, stepMsPerToken, longStepMsMax } = engineLimits

/** A watch that has seen the model move, so that its first, long step is over. */
async function warm() {
  const runtime = simulatedRuntime()
  const watch = new EvaluationWatch(runtime)
  await watch.step(1, async () => {})
  const begin = (tokens: number) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    return { end: resolve, over: watch.step(tokens, () => promise) }
  }
  return { runtime, watch, begin }
}

test('a token that does not come is overdue after a minute, and an idle model never', async () => {
  const { runtime, watch, begin } = await warm()
  runtime.advance(longStepMsMax)
  expect(watch.overdueMs()).toBe(undefined)
  const token = begin(1)
  runtime.advance(stepMsMax + stepMsPerToken)
  expect(watch.overdueMs()).toBe(undefined)
  runtime.advance(1)
  expect(watch.overdueMs()).toBe(stepMsMax + stepMsPerToken + 1)
  token.end()
  await token.over
  expect(watch.overdueMs()).toBe(undefined)
})

test('a slow computer may take its time for a long prompt, as long as batch after batch ends', async () => {
  const { runtime, watch, begin } = await warm()
  const { prefillTokensMax } = engineLimits
  for (let batch = 0; batch < 20; batch++) {
    const { end, over } = begin(prefillTokensMax)
    runtime.advance(stepMsMax + prefillTokensMax * stepMsPerToken)
    expect(watch.overdueMs()).toBe(undefined)
    end()
    await over
  }
  begin(prefillTokensMax)
  runtime.advance(stepMsMax + prefillTokensMax * stepMsPerToken + 1)
  expect(watch.overdueMs()).toBeGreaterThan(0)
})

test('whatever moves is progress of all: parallel requests are computed in turns', async () => {
  const { runtime, watch, begin } = await warm()
  begin(1)
  for (let i = 0; i < 10; i++) {
    const { end, over } = begin(1)
    runtime.advance(stepMsMax)
    end()
    await over
  }
  expect(watch.overdueMs()).toBe(undefined)
})

test('the first step may read the whole model from a cold disk, and nothing may take longer', async () => {
  const runtime = simulatedRuntime()
  const watch = new EvaluationWatch(runtime)
  void watch.step(1, () => new Promise(() => {}))
  void watch.step(1_000_000, () => new Promise(() => {}))
  runtime.advance(longStepMsMax)
  expect(watch.overdueMs()).toBe(undefined)
  runtime.advance(1)
  expect(watch.overdueMs()).toBe(longStepMsMax + 1)
})

test('a reader who rests between two tokens is not a model that rests', async () => {
  const { runtime, watch } = await warm()
  let closed = false
  async function* tokens() {
    try {
      yield* ['a', 'b', 'c']
    } finally {
      closed = true
    }
  }
  const read: string[] = []
  for await (const token of watched(watch, 3, tokens())) {
    runtime.advance(longStepMsMax + 1)
    expect(watch.overdueMs()).toBe(undefined)
    read.push(token)
    if (token === 'b') break
  }
  expect(read).toEqual(['a', 'b'])
  expect(closed).toBe(true)
})
