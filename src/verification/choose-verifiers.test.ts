import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Candidate, chooseVerifiers } from './choose-verifiers.ts'

const epochKey = Buffer.alloc(32, 7)
const statement = (i: number) => ({ epochKey, statementHash: createHash('sha256').update(`${i}`).digest() })
const of = (...operators: string[]): Candidate[] => operators.map((operator, i) => ({ worker: `w${i}`, operator }))
const nobody = new Set<string>()
const unchecked = new Map<string, number>()

/** So many checks of one worker, one after the other; who made how many. */
function checksOf(candidates: Candidate[], count: number): Map<string, number> {
  const checksBy = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const [chosen] = chooseVerifiers({ ...statement(i), candidates, excluded: nobody, checksBy, count: 1 })
    if (chosen) checksBy.set(chosen.operator, (checksBy.get(chosen.operator) ?? 0) + 1)
  }
  return checksBy
}

test('an operator never verifies itself, nor those who accuse', () => {
  const candidates = of('anna', 'anna', 'bob', 'carla')
  for (let i = 0; i < 50; i++) {
    const excluded = new Set(['anna', 'bob'])
    const chosen = chooseVerifiers({ ...statement(i), candidates, excluded, checksBy: unchecked, count: 3 })
    expect(chosen).toEqual([{ worker: 'w3', operator: 'carla' }])
  }
})

test('in a pool of one operator nobody verifies', () => {
  const excluded = new Set(['anna'])
  expect(
    chooseVerifiers({ ...statement(1), candidates: of('anna', 'anna'), excluded, checksBy: unchecked, count: 1 }),
  ).toEqual([])
  expect(chooseVerifiers({ ...statement(1), candidates: [], excluded, checksBy: unchecked, count: 3 })).toEqual([])
})

test.each([
  ['one other operator makes all checks', ['anna'], [300]],
  ['two make half of them each', ['anna', 'bob'], [150, 150]],
  ['three make a third each', ['anna', 'bob', 'carla'], [100, 100, 100]],
])('%s', (_, operators, counts) => {
  expect([...checksOf(of(...operators), 300).entries()].sort().map(([, count]) => count)).toEqual(counts)
})

test('of five operators none makes more than a third, however many workers it brings', () => {
  const many = of(...new Array<string>(50).fill('anna'), 'bob', 'carla', 'dave', 'erin')
  const counts = [...checksOf(many, 1_000).values()]
  expect(counts.length).toBe(5)
  expect(Math.max(...counts)).toBeLessThanOrEqual(334)
  expect(Math.min(...counts)).toBeGreaterThan(140)
})

const pools: fc.Arbitrary<Candidate[]> = fc.array(
  fc.record({ worker: fc.uuid(), operator: fc.constantFrom('a', 'b', 'c', 'd', 'e', '__proto__') }),
  { maxLength: 20 },
)

test('the chosen are of distinct operators, and as many as there can be', () => {
  const histories = fc
    .dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.nat(1_000))
    .map((all) => new Map(Object.entries(all)))
  fc.assert(
    fc.property(
      pools,
      histories,
      fc.subarray(['a', 'b', 'c']),
      fc.integer({ min: 1, max: 5 }),
      fc.nat(),
      (candidates, checksBy, not, count, i) => {
        const excluded = new Set(not)
        const ask = (all: Candidate[]) =>
          chooseVerifiers({ ...statement(i), candidates: all, excluded, checksBy, count })
        const chosen = ask(candidates)
        const operators = new Set(chosen.map(({ operator }) => operator))
        const others = new Set(candidates.map(({ operator }) => operator).filter((operator) => !excluded.has(operator)))
        expect(operators.size).toBe(chosen.length)
        expect(chosen.length).toBe(Math.min(count, others.size))
        expect(chosen.every((one) => candidates.includes(one) && !excluded.has(one.operator))).toBe(true)
        expect(ask(candidates.toReversed())).toEqual(chosen)
      },
    ),
  )
})
