import fc from 'fast-check'
import { expect, test } from 'vitest'
import { agreementOf, type Relation } from './agreement.ts'

/** Workers by number, who say these letters; whose letters are equal agree. */
const of = (text: string, running: number, k: number) =>
  agreementOf([...text.split('').keys()], running, k, (a, b) => (text[a] === text[b] ? 'agree' : 'differ'))

test('two that agree are enough, and are waited for', () => {
  expect(of('', 2, 2)).toEqual({ verdict: 'wait' })
  expect(of('a', 1, 2)).toEqual({ verdict: 'wait' })
  expect(of('aa', 0, 2)).toEqual({ verdict: 'agreed', agreeing: [0, 1], dissenting: [] })
})

test('of two that differ a third decides who was wrong', () => {
  expect(of('ab', 0, 2)).toEqual({ verdict: 'ask', more: 1 })
  expect(of('ab', 1, 2)).toEqual({ verdict: 'wait' })
  expect(of('aba', 0, 2)).toEqual({ verdict: 'agreed', agreeing: [0, 2], dissenting: [1] })
  expect(of('abb', 0, 2)).toEqual({ verdict: 'agreed', agreeing: [1, 2], dissenting: [0] })
  expect(of('abc', 0, 2)).toEqual({ verdict: 'undecided' })
})

test('three of at most five', () => {
  expect(of('aab', 0, 3)).toEqual({ verdict: 'ask', more: 1 })
  expect(of('abc', 0, 3)).toEqual({ verdict: 'ask', more: 2 })
  expect(of('abca', 1, 3)).toEqual({ verdict: 'wait' })
  expect(of('aabba', 0, 3)).toMatchObject({ verdict: 'agreed', agreeing: [0, 1, 4] })
  expect(of('aabbc', 0, 3)).toEqual({ verdict: 'undecided' })
})

test('whatever the workers answer, it ends after at most 2k − 1 of them, and only k of one mind win', () => {
  const letters = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 9, maxLength: 9 })
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 5 }), letters, (k, says) => {
      let asked = k
      for (;;) {
        const found = of(says.slice(0, asked).join(''), 0, k)
        if (found.verdict === 'wait') throw new Error('nobody is left to wait for')
        if (found.verdict === 'undecided') return
        if (found.verdict === 'agreed') {
          expect(found.agreeing).toHaveLength(k)
          expect(found.agreeing.length + found.dissenting.length).toBe(asked)
          return
        }
        asked += found.more
        expect(asked).toBeLessThanOrEqual(2 * k - 1)
      }
    }),
  )
})

/** What is known of each two of some workers; of the others, that they agree. */
const among = (workers: string, known: Record<string, Relation>, running = 0, k = 2) =>
  agreementOf([...workers], running, k, (a, b) => known[a + b] ?? known[b + a] ?? 'agree')

test('nobody is asked and nobody blamed while somebody still looks', () => {
  expect(among('ab', { ab: 'open' })).toEqual({ verdict: 'wait' })
  expect(among('abc', { ab: 'differ', bc: 'open', ac: 'open' })).toEqual({ verdict: 'wait' })
  expect(among('abc', { ab: 'differ', bc: 'open' })).toMatchObject({ verdict: 'agreed', agreeing: ['a', 'c'] })
})

test('whoever nobody could look at is replaced, and not accused', () => {
  expect(among('ab', { ab: 'unknown' })).toEqual({ verdict: 'ask', more: 1 })
  expect(among('abc', { ab: 'unknown', bc: 'unknown' })).toEqual({
    verdict: 'agreed',
    agreeing: ['a', 'c'],
    dissenting: [],
  })
})

test('whom only one of those who agree accuses is not blamed', () => {
  expect(among('abc', { ab: 'differ' })).toEqual({ verdict: 'agreed', agreeing: ['a', 'c'], dissenting: [] })
  expect(among('abc', { ab: 'differ', bc: 'differ' })).toMatchObject({ agreeing: ['a', 'c'], dissenting: ['b'] })
})

test('to agree with some of those who agree is not enough: each must with each', () => {
  const known: Record<string, Relation> = { ac: 'differ' }
  expect(among('abc', known, 0, 3)).toEqual({ verdict: 'ask', more: 1 })
  expect(among('abcd', known, 0, 3)).toMatchObject({ verdict: 'agreed', agreeing: ['a', 'b', 'd'] })
})
