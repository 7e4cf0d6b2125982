import fc from 'fast-check'
import { expect, test } from 'vitest'
import { verificationOps } from './conformance.ts'

const ask = (op: string, input: unknown) => verificationOps[op]?.(input)
const hash = '00'.repeat(32)
const sample = { epoch_key: hash, statement_hash: hash, q_ppm: 30_000 }
const result = { worker: 'w', operator: 'o', digest: 'd' }

test.each<[string, string, unknown]>([
  ['a short key', 'sampling.decide', { ...sample, epoch_key: '00' }],
  ['a rate above one', 'sampling.decide', { ...sample, q_ppm: 1_000_001 }],
  ['more picks than there are', 'sampling.decide', { ...sample, pick: { label: 'verifier', n: 2, count: 3 } }],
  ['a label of its own', 'sampling.decide', { ...sample, pick: { label: 'select', n: 2, count: 1 } }],
  ['heights of other charts', 'chart.update', { outcomes: [], heights: [0, 0] }],
  ['honest workers hit as often as cheaters', 'chart.update', { outcomes: [], honest_hit_rate: 0.5, sensitivity: 0.5 }],
  ['an outcome that is neither', 'chart.update', { outcomes: ['waived'] }],
  [
    'a best logit that is missing',
    'margin.judge',
    { positions: [{ chosen: 1, best: null }], ending: { kind: 'cancelled' } },
  ],
  ['an end token that nobody looked at', 'margin.judge', { positions: [], ending: { kind: 'end_token' } }],
  ['a quorum without a majority', 'quorum.judge', { results: [result], agree: 1, of: 2 }],
  ['more agreeing than donors', 'quorum.judge', { results: [result], agree: 3, of: 2 }],
])('%s is answered with invalid_input (%s)', (_, op, input) => {
  expect(ask(op, input)).toMatchObject({ ok: false, error: { code: 'invalid_input' } })
})

test('charts go on from the heights that were printed', () => {
  const printed = (input: object) => {
    const answer = ask('chart.update', input)
    return answer?.ok ? (answer.output as { heights: number[]; alarm_at: number | null }) : undefined
  }
  const first = printed({ outcomes: ['hit', 'clean', 'hit'] })
  const second = printed({ outcomes: ['clean', 'hit'], heights: first?.heights })
  const whole = printed({ outcomes: ['hit', 'clean', 'hit', 'clean', 'hit'] })
  expect(second?.heights).toEqual(whole?.heights)
  expect([first?.alarm_at, second?.alarm_at, whole?.alarm_at]).toEqual([null, 2, 5])
})

test('an answer that the model could not give at all is a hit by its position', () => {
  const positions = [{ chosen: null, best: 4 }, ...new Array(15).fill({ chosen: 4, best: 4 })]
  expect(ask('margin.judge', { positions, ending: { kind: 'max_tokens' } })).toEqual({
    ok: true,
    output: { hit: true, why: 'position', mean: 3 / 16, max: 3 },
  })
})

test('whatever is asked is answered, nothing is thrown, and the answer is JSON', () => {
  const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, 1, -1, 1e308, -1e308, 5e-324))
  const field = (values: fc.Arbitrary<unknown>) => fc.option(values, { nil: undefined })
  const inputs = fc.oneof(
    fc.anything(),
    fc.record({
      outcomes: fc.array(fc.constantFrom('clean', 'hit')),
      cheat_rates: field(fc.array(number)),
      honest_hit_rate: field(number),
      sensitivity: field(number),
      false_alarm_per_check_max: field(number),
      heights: field(fc.array(number)),
    }),
    fc.record({
      positions: fc.array(fc.record({ chosen: fc.option(number), best: number, noise_best: field(number) })),
      ending: fc.constant({ kind: 'cancelled' }),
    }),
    fc.record({
      results: fc.array(fc.record({ worker: fc.string(), operator: fc.string(), digest: fc.string() })),
      agree: number,
      of: number,
    }),
    fc.record({
      epoch_key: fc.constant(hash),
      statement_hash: fc.constant(hash),
      q_ppm: number,
      pick: field(fc.record({ label: fc.constant('position'), n: number, count: fc.integer({ min: 0, max: 50 }) })),
    }),
  )
  fc.assert(
    fc.property(inputs, fc.constantFrom(...Object.keys(verificationOps)), (input, op) => {
      const answer = ask(op, input)
      expect(JSON.parse(JSON.stringify(answer))).toEqual(answer)
    }),
    { numRuns: 2_000 },
  )
})
