import fc from 'fast-check'
import { expect, test } from 'vitest'
import { confirmHit, countVotes, type Vote } from './votes.ts'

const vote = (name: string, says: Vote['says']): Vote => ({ verifier: name, operator: `of ${name}`, says })
const accuser = { verifier: 'anna', operator: 'of anna' }

test.each<[string, Vote['says'], Vote['says'], ReturnType<typeof confirmHit>]>([
  ['both confirm', 'hit', 'hit', { outcome: 'hit', by: ['anna', 'bob', 'carla'], overruled: [] }],
  ['one confirms', 'hit', 'clean', { outcome: 'hit', by: ['anna', 'bob'], overruled: ['carla'] }],
  ['nobody confirms', 'clean', 'clean', { outcome: 'clean', by: ['bob', 'carla'], overruled: ['anna'] }],
])('of two more verifiers %s', (_, bob, carla, expected) => {
  const votes = [vote('bob', bob), vote('carla', carla)] as const
  expect(confirmHit(accuser, { from: 'verifiers', votes })).toEqual(expected)
})

test('the reference engine decides alone, and an accuser that it overrules takes the hit', () => {
  expect(confirmHit(accuser, { from: 'pool', says: 'hit' })).toEqual({ outcome: 'hit', by: ['anna'], overruled: [] })
  expect(confirmHit(accuser, { from: 'pool', says: 'clean' })).toEqual({
    outcome: 'clean',
    by: [],
    overruled: ['anna'],
  })
})

test('an operator has one vote, and votes cannot tie', () => {
  expect(() => countVotes([vote('anna', 'hit'), vote('bob', 'clean')])).toThrow('odd number')
  const twice = [vote('anna', 'hit'), vote('bob', 'hit'), { ...vote('carla', 'hit'), operator: 'of bob' }]
  expect(() => countVotes(twice)).toThrow('one vote')
})

test('the overruled are exactly the minority', () => {
  const odd = fc
    .integer({ min: 0, max: 5 })
    .chain((n) => fc.array(fc.boolean(), { minLength: 2 * n + 1, maxLength: 2 * n + 1 }))
  fc.assert(
    fc.property(odd, (hits) => {
      const { majority, overruled } = countVotes(hits.map((hit, i) => vote(`v${i}`, hit ? 'hit' : 'clean')))
      const minority = hits.flatMap((hit, i) => (hit === (majority === 'hit') ? [] : [`v${i}`]))
      expect(overruled).toEqual(minority)
      expect(overruled.length).toBeLessThan(hits.length / 2)
    }),
  )
})
