import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Breaker, breakerAfter, closedBreaker, type Fault, runsAllowed } from './breaker.ts'

type Ended = 'success' | Fault
const outcomeOf = (breaker: Breaker, all: readonly Ended[], nowMs: number) =>
  all.reduce((last, ended) => breakerAfter(last.breaker, ended, nowMs), {
    breaker,
    event: null,
  } as ReturnType<typeof breakerAfter>)

test.each<[string, Ended[], 'closed' | 'open']>([
  ['three errors', ['error', 'error', 'error'], 'closed'],
  ['four errors', ['error', 'error', 'error', 'error'], 'open'],
  ['four errors with a success between', ['error', 'success', 'error', 'error', 'error'], 'closed'],
  ['errors and timeouts together', ['error', 'timeout', 'error', 'timeout'], 'open'],
  ['two implausible answers', ['quality', 'quality'], 'open'],
  ['one implausible answer', ['quality'], 'closed'],
])('%s: %j leave the circuit %s', (_, ended, circuit) => {
  expect(outcomeOf(closedBreaker, ended, 0).breaker.circuit).toBe(circuit)
})

test('an open circuit gets no work, then one run at a time, and closes after three successes', () => {
  const opened = outcomeOf(closedBreaker, ['quality', 'quality'], 1_000)
  expect(opened.event).toBe('circuit_opened')
  expect(runsAllowed(opened.breaker, 8, 10_999)).toBe(0)
  expect(runsAllowed(opened.breaker, 8, 11_000)).toBe(1)
  expect(runsAllowed(opened.breaker, 0, 11_000)).toBe(0)
  const two = outcomeOf(opened.breaker, ['success', 'success'], 11_000)
  expect(two).toMatchObject({ breaker: { circuit: 'half_open', successes: 2 }, event: null })
  const three = breakerAfter(two.breaker, 'success', 11_000)
  expect(three).toEqual({ breaker: closedBreaker, event: 'circuit_closed' })
  expect(runsAllowed(three.breaker, 8, 11_000)).toBe(8)
})

test('answers to runs from before the circuit opened change nothing', () => {
  const { breaker } = outcomeOf(closedBreaker, ['quality', 'quality'], 0)
  expect(outcomeOf(breaker, ['success', 'error', 'success', 'success'], 5_000)).toEqual({ breaker, event: null })
})

test('each relapse doubles the pause, up to ten minutes', () => {
  let { breaker } = outcomeOf(closedBreaker, ['quality', 'quality'], 0)
  const pauses: number[] = []
  for (let relapse = 0; relapse < 8 && breaker.circuit === 'open'; relapse++) {
    pauses.push(breaker.pauseMs)
    breaker = breakerAfter(breaker, 'timeout', breaker.untilMs).breaker
  }
  expect(pauses).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000])
})

const runs = fc.array(
  fc.record({
    ended: fc.constantFrom<Ended>('success', 'success', 'error', 'timeout', 'quality'),
    waitMs: fc.nat(30_000),
  }),
  { maxLength: 200 },
)

test('the events tell the whole story: opened when work stops, closed when all slots are back, never one without cause', () => {
  fc.assert(
    fc.property(runs, (all) => {
      let [breaker, nowMs, healthy]: [Breaker, number, boolean] = [closedBreaker, 0, true]
      for (const { ended, waitMs } of all) {
        nowMs += waitMs
        const before = runsAllowed(breaker, 4, nowMs)
        const step = breakerAfter(breaker, ended, nowMs)
        breaker = step.breaker
        if (step.event === 'circuit_opened') expect([before > 0, ended !== 'success']).toEqual([true, true])
        if (step.event === 'circuit_closed') expect([healthy, ended]).toEqual([false, 'success'])
        if (step.event !== null) healthy = step.event === 'circuit_closed'
        expect(breaker.circuit === 'closed').toBe(healthy)
        expect([0, 1, 4]).toContain(runsAllowed(breaker, 4, nowMs))
      }
    }),
  )
})

test('a worker with one error in six answers is borne, with one in five it is not', () => {
  const pattern = (successes: number): Ended[] =>
    Array.from({ length: 200 }).flatMap(() => ['error' as const, ...new Array<Ended>(successes).fill('success')])
  expect(outcomeOf(closedBreaker, pattern(5), 0).breaker.circuit).toBe('closed')
  expect(outcomeOf(closedBreaker, pattern(4), 0).breaker.circuit).toBe('open')
})
