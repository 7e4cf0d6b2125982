import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CountedSegment, countUsage, faultOf, promptTokensMax } from './count-usage.ts'

const bounds = { maxTokens: 10, promptTokensMax: 100, prompts: 1 }
const segment = (pieces: number, completionTokens?: number, promptTokens = 5): CountedSegment => ({
  pieces,
  claim: completionTokens === undefined ? undefined : { promptTokens, completionTokens },
})

test('a claim lowers the count and never raises it', () => {
  expect(countUsage(bounds, [[segment(4, 3)]])).toEqual({ promptTokens: 5, completionTokens: 3 })
  expect(countUsage(bounds, [[segment(4, 9)]])).toEqual({ promptTokens: 5, completionTokens: 4 })
})

test('what a lost worker relayed counts as relayed, and max_tokens holds over all segments', () => {
  expect(countUsage(bounds, [[segment(4), segment(3, 3)]]).completionTokens).toBe(7)
  expect(countUsage(bounds, [[segment(8), segment(8, 8)]]).completionTokens).toBe(10)
})

test('the prompt of three choices counts once, by the lowest claim, within its bound', () => {
  const choices = [[segment(1, 1, 30)], [segment(1, 1, 20)], [segment(1, 1, 40)]]
  expect(countUsage(bounds, choices)).toEqual({ promptTokens: 20, completionTokens: 3 })
  expect(countUsage({ ...bounds, promptTokensMax: 12 }, choices).promptTokens).toBe(12)
})

test('two prompts with two choices each count two prompts', () => {
  const choices = [[segment(1, 1, 7)], [segment(1, 1, 8)], [segment(1, 1, 20)], [segment(1, 1, 21)]]
  expect(countUsage({ ...bounds, prompts: 2 }, choices).promptTokens).toBe(27)
})

test('no claim, no prompt tokens', () => {
  expect(countUsage(bounds, [[segment(3)]])).toEqual({ promptTokens: 0, completionTokens: 3 })
})

test('a prompt holds at most a token per byte and sixteen per message', () => {
  expect(promptTokensMax({ promptBytes: 100, messages: 2 })).toBe(132)
  expect(promptTokensMax({ promptBytes: 100, messages: 1, prompts: 3 })).toBe(148)
})

test('claiming more than was sent, allowed or asked is a fault; an upstream may pack tokens', () => {
  const facts = { pieces: 4, tokensLeft: 10, promptTokensMax: 100 }
  const claims: [number, number, number | undefined][] = [
    [5, 4, 4],
    [5, 5, 4],
    [101, 4, 4],
    [5, 9, undefined],
    [5, 11, undefined],
  ]
  expect(
    claims.map(([promptTokens, completionTokens, pieces]) =>
      faultOf({ promptTokens, completionTokens }, { ...facts, pieces }),
    ),
  ).toEqual([undefined, 'over_claim', 'over_claim', undefined, 'over_claim'])
})

test('whatever workers claim, nobody pays for more than was relayed or allowed', () => {
  const segments = fc.array(
    fc.record({
      pieces: fc.nat(20),
      claim: fc.option(fc.record({ promptTokens: fc.nat(1_000), completionTokens: fc.nat(1_000) }), { nil: undefined }),
    }),
    { maxLength: 4 },
  )
  fc.assert(
    fc.property(fc.array(segments, { minLength: 1, maxLength: 4 }), (choices) => {
      const counted = countUsage(bounds, choices)
      const relayed = choices.flat().reduce((sum, one) => sum + one.pieces, 0)
      expect(counted.completionTokens).toBeLessThanOrEqual(Math.min(relayed, 10 * choices.length))
      expect(counted.promptTokens).toBeLessThanOrEqual(100)
    }),
  )
})
