import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judgeByReferee, judgeQuorum, type QuorumResult, type QuorumRule } from './quorum.ts'

/** One letter for each donor: donors with the same letter have the same result. Each belongs to an operator of its own. */
const results = (letters: string): QuorumResult[] =>
  [...letters].map((digest, i) => ({ worker: `w${i}`, operator: `o${i}`, digest }))
const rule = (agree: number, of: number): QuorumRule => ({ agree, of })

describe('two of three', () => {
  test('the odd one out is unpaid, and the two who agree are paid', () => {
    expect(judgeQuorum(results('aba'), rule(2, 3))).toEqual({
      outcome: 'agreed',
      digest: 'a',
      agreeing: ['w0', 'w2'],
      outliers: ['w1'],
    })
  })

  test('two who agree need not wait for the third', () => {
    expect(judgeQuorum(results('aa'), rule(2, 3))).toMatchObject({ outcome: 'agreed', outliers: [] })
  })

  test('three different results pay nobody until the referee has spoken', () => {
    expect(judgeQuorum(results('abc'), rule(2, 3))).toEqual({ outcome: 'undecided', why: 'all_differ' })
  })

  test.each(['', 'a', 'ab'])('with %j it still waits', (letters) => {
    expect(judgeQuorum(results(letters), rule(2, 3))).toEqual({ outcome: 'waiting' })
  })
})

test.each<[string, QuorumRule, object]>([
  ['ab', rule(2, 2), { outcome: 'undecided', why: 'all_differ' }],
  ['aa', rule(2, 2), { outcome: 'agreed' }],
  ['a', rule(1, 1), { outcome: 'agreed' }],
  ['aabb', rule(3, 4), { outcome: 'undecided', why: 'tie' }],
  ['aabc', rule(3, 4), { outcome: 'undecided', why: 'too_few_agree' }],
  ['aabbc', rule(3, 5), { outcome: 'undecided', why: 'tie' }],
  ['aabb', rule(3, 5), { outcome: 'waiting' }],
  ['abcd', rule(3, 5), { outcome: 'undecided', why: 'all_differ' }],
  ['aaabb', rule(3, 5), { outcome: 'agreed', outliers: ['w3', 'w4'] }],
  ['aaab', rule(4, 5), { outcome: 'waiting' }],
  ['aaabb', rule(4, 5), { outcome: 'undecided', why: 'too_few_agree' }],
])('results %s by rule %j', (letters, by, verdict) => {
  expect(judgeQuorum(results(letters), by)).toMatchObject(verdict)
})

test('two results of one operator are one opinion', () => {
  const [first, second] = results('aa')
  const pair = [first, { ...second, operator: 'o0' }] as QuorumResult[]
  expect(judgeQuorum(pair, rule(2, 3))).toEqual({ outcome: 'refused', why: 'same_operator' })
})

test('a result too many is refused, and a quorum without a majority is a mistake of ours', () => {
  expect(judgeQuorum(results('aaaa'), rule(2, 3))).toEqual({ outcome: 'refused', why: 'too_many_results' })
  expect(() => judgeQuorum(results('aa'), rule(2, 4))).toThrow('more than half')
  expect(() => judgeQuorum(results('aa'), rule(4, 3))).toThrow('more than half')
})

const rules = fc
  .integer({ min: 1, max: 9 })
  .chain((of) => fc.record({ of: fc.constant(of), agree: fc.integer({ min: Math.floor(of / 2) + 1, max: of }) }))
const cases = rules.chain((by) =>
  fc.tuple(
    fc.constant(by),
    fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: by.of }).map((letters) => letters.join('')),
  ),
)

test('the order in which results come in changes nothing', () => {
  const turned = (verdict: ReturnType<typeof judgeQuorum>) =>
    verdict.outcome === 'agreed'
      ? { ...verdict, agreeing: verdict.agreeing.toSorted(), outliers: verdict.outliers.toSorted() }
      : verdict
  fc.assert(
    fc.property(cases, ([by, letters]) => {
      const all = results(letters)
      expect(turned(judgeQuorum(all.toReversed(), by))).toEqual(turned(judgeQuorum(all, by)))
    }),
  )
})

test('agreed means that enough agree, and later results never turn it; undecided means that none could have been enough', () => {
  fc.assert(
    fc.property(cases, fc.constantFrom('a', 'b', 'c'), ([by, letters], next) => {
      const verdict = judgeQuorum(results(letters), by)
      const count = (letter: string) => [...letters].filter((other) => other === letter).length
      const open = by.of - letters.length
      if (verdict.outcome === 'agreed') {
        expect(verdict.agreeing.length).toBe(count(verdict.digest))
        expect(verdict.agreeing.length).toBeGreaterThanOrEqual(by.agree)
        expect(verdict.agreeing.length + verdict.outliers.length).toBe(letters.length)
        if (open > 0)
          expect(judgeQuorum(results(letters + next), by)).toMatchObject({ outcome: 'agreed', digest: verdict.digest })
      }
      if (verdict.outcome === 'undecided')
        for (const letter of 'abc') expect(count(letter) + open).toBeLessThan(by.agree)
    }),
  )
})

test('with a third of donors colluding, a wrong result passes two of three as often as the formula says', () => {
  let [wrong, chance] = [0, 0]
  const f = 1 / 3
  for (const letters of ['www', 'wwr', 'wrw', 'rww', 'wrr', 'rwr', 'rrw', 'rrr']) {
    const bad = [...letters].filter((letter) => letter === 'w').length
    const p = f ** bad * (1 - f) ** (3 - bad)
    chance += p
    const verdict = judgeQuorum(results(letters), rule(2, 3))
    if (verdict.outcome === 'agreed' && verdict.digest === 'w') wrong += p
  }
  expect(chance).toBeCloseTo(1, 12)
  expect(wrong).toBeCloseTo(3 * f ** 2 - 2 * f ** 3, 12)
})

test('the referee pays those who were right, and refutes the others, even a majority', () => {
  expect(judgeByReferee(results('aab'), 'b')).toEqual({ right: ['w2'], refuted: ['w0', 'w1'] })
  expect(judgeByReferee(results('abc'), 'd')).toEqual({ right: [], refuted: ['w0', 'w1', 'w2'] })
})
