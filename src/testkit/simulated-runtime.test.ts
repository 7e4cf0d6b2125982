import { expect, test } from 'vitest'
import { simulatedRuntime } from './simulated-runtime.ts'

test('timers run in the order they fall due, and the clock shows their moment', () => {
  const runtime = simulatedRuntime()
  const seen: string[] = []
  runtime.after(20, () => seen.push(`second at ${runtime.monotonic()}`))
  runtime.after(10, () => seen.push(`first at ${runtime.monotonic()}`))
  const repeated = runtime.every(15, () => seen.push(`tick at ${runtime.monotonic()}`))
  runtime.advance(31)
  repeated.cancel()
  expect(seen).toEqual(['first at 10', 'tick at 15', 'second at 20', 'tick at 30'])
  expect([runtime.monotonic(), runtime.timers]).toEqual([31, 0])
})

test('a sleeper wakes in its own turn and can be told to stop', async () => {
  const runtime = simulatedRuntime()
  const seen: number[] = []
  const sleeper = (async () => {
    for (let i = 0; i < 3; i++) {
      await runtime.sleep(10)
      seen.push(runtime.monotonic())
    }
  })()
  await runtime.pass(30)
  await sleeper
  expect(seen).toEqual([10, 20, 30])

  const stop = new AbortController()
  const stopped = runtime.sleep(1_000, stop.signal)
  stop.abort(new Error('enough'))
  await expect(stopped).rejects.toThrow('enough')
  expect(runtime.timers).toBe(0)
})

test('the same seed throws the same dice', () => {
  expect(simulatedRuntime(7).uuid()).toBe(simulatedRuntime(7).uuid())
  expect(simulatedRuntime(7).uuid()).not.toBe(simulatedRuntime(8).uuid())
})
