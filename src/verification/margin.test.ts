import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Ending, judgeMargin, type Position, scoreOf } from './margin.ts'

/** A position whose token falls short by so much. */
const short = (by: number): Position => ({ chosenLogit: 10 - by, bestLogit: 10 })
const positions = (...by: number[]) => by.map(short)
const sixteen = (by: number) => positions(...new Array<number>(16).fill(by))
const enough: Ending = { kind: 'max_tokens' }
const ended = (by: number): Ending => ({ kind: 'end_token', ...short(by) })

test.each<[string, Position, number]>([
  ['the best token', { chosenLogit: 7, bestLogit: 7 }, 0],
  ['half a logit short', { chosenLogit: 6.5, bestLogit: 7 }, 0.5],
  ['better than the best, as rounding may have it', { chosenLogit: 7.1, bestLogit: 7 }, 0],
  ['far short', { chosenLogit: -20, bestLogit: 7 }, 3],
  ['a token that the model cannot give', { chosenLogit: Number.NEGATIVE_INFINITY, bestLogit: 7 }, 3],
  ['short by logits, best by noise', { chosenLogit: 6, bestLogit: 7, noiseChosen: 1.5, noiseBest: 0.25 }, 0],
  ['best by logits, short by noise', { chosenLogit: 7, bestLogit: 6, noiseChosen: -1, noiseBest: 1.5 }, 1.5],
])('%s', (_, position, score) => {
  expect(scoreOf(position)).toBeCloseTo(score, 12)
})

test('a verifier that reports no number is a breakage, not a hit', () => {
  expect(() => scoreOf({ chosenLogit: 1, bestLogit: Number.NaN })).toThrow('reports numbers')
  expect(() => scoreOf({ chosenLogit: Number.NaN, bestLogit: 1 })).toThrow('reports numbers')
  expect(() => scoreOf({ chosenLogit: 1, bestLogit: Number.POSITIVE_INFINITY })).toThrow('reports numbers')
})

describe('an answer', () => {
  test.each<[string, Position[], Ending, ReturnType<typeof judgeMargin>['why']]>([
    ['the worst honest one measured', sixteen(0.153), ended(0.153), null],
    ['a 4-bit substitute', sixteen(0.68), enough, 'mean'],
    ['another model', sixteen(2.8), enough, 'mean'],
    ['at the mean threshold exactly', sixteen(0.25), enough, null],
    ['just above it', sixteen(0.2501), enough, 'mean'],
    [
      'one edited token among 16, which the mean cannot see',
      positions(...new Array<number>(15).fill(0), 3),
      enough,
      'position',
    ],
    ['one token two logits short', positions(0, 2), enough, 'mean'],
    ['one token two logits short among 16', positions(2, ...new Array<number>(15).fill(0)), enough, null],
    ['cut short with an end token that the model would not give', sixteen(0), ended(2.5), 'ending'],
    ['ended for no reason', sixteen(0), { kind: 'unexplained' }, 'ending'],
    ['ended by a stop string', sixteen(0), { kind: 'stop_string' }, null],
    ['cancelled by its reader', sixteen(0), { kind: 'cancelled' }, null],
    ['empty, as the model would have it', [], ended(0), null],
    ['empty, as the model would not have it', [], ended(3), 'ending'],
  ])('%s', (_, all, ending, why) => {
    expect(judgeMargin({ positions: all, ending })).toMatchObject({ hit: why !== null, why })
  })

  test('thresholds of a calibrated pair are used instead of the defaults', () => {
    const thresholds = { mean: 0.5, position: 2.6 }
    expect(judgeMargin({ positions: sixteen(0.4), ending: ended(2.5), thresholds }).hit).toBe(false)
    expect(judgeMargin({ positions: sixteen(0.6), ending: enough, thresholds }).why).toBe('mean')
  })
})

const logit = fc.double({ min: -50, max: 50, noNaN: true })
const anyPosition: fc.Arbitrary<Position> = fc.record({
  chosenLogit: logit,
  bestLogit: logit,
  noiseChosen: logit,
  noiseBest: logit,
})

test('one wrong token among sixteen moves the mean by at most 3/16, so only its position can show it', () => {
  fc.assert(
    fc.property(anyPosition, fc.nat(15), (bad, at) => {
      const { why, mean } = judgeMargin({ positions: sixteen(0).with(at, bad), ending: enough })
      expect(mean).toBeLessThanOrEqual(3 / 16)
      expect(why).not.toBe('mean')
    }),
  )
})

test('a worker that chose by the sampler is clean at any temperature and any noise', () => {
  const candidates = fc.array(fc.record({ logit, gumbel: logit }), { minLength: 1, maxLength: 64 })
  fc.assert(
    fc.property(candidates, fc.double({ min: 0, max: 2, noNaN: true }), (all, temperature) => {
      const value = (one: { logit: number; gumbel: number }) => one.logit + temperature * one.gumbel
      const chosen = all.reduce((best, one) => (value(one) > value(best) ? one : best))
      const position = {
        chosenLogit: chosen.logit,
        bestLogit: chosen.logit,
        noiseChosen: temperature * chosen.gumbel,
        noiseBest: temperature * chosen.gumbel,
      }
      expect(judgeMargin({ positions: [position], ending: enough }).hit).toBe(false)
      for (const other of all) {
        const swapped = { ...position, chosenLogit: other.logit, noiseChosen: temperature * other.gumbel }
        expect(scoreOf(swapped)).toBeGreaterThanOrEqual(0)
      }
    }),
  )
})

test('the order of positions does not matter to the verdict, and a worse token never makes it better', () => {
  fc.assert(
    fc.property(
      fc.array(anyPosition, { minLength: 1, maxLength: 40 }),
      fc.nat(),
      fc.double({ min: 0, max: 5, noNaN: true }),
      (all, at, worse) => {
        const before = judgeMargin({ positions: all, ending: enough })
        const turned = judgeMargin({ positions: all.toReversed(), ending: enough })
        expect(turned.max).toBe(before.max)
        expect(turned.mean).toBeCloseTo(before.mean, 12)
        const i = at % all.length
        const changed = all.map((one, j) => (j === i ? { ...one, chosenLogit: one.chosenLogit - worse } : one))
        const after = judgeMargin({ positions: changed, ending: enough })
        expect(after.mean).toBeGreaterThanOrEqual(before.mean)
        expect(after.max).toBeGreaterThanOrEqual(before.max)
      },
    ),
  )
})
