import { expect, test } from 'vitest'
import { emptyAnswer } from '../testkit/small-checks.ts'
import { judgeKnown, knownBadOf } from './known-later.ts'

test.each([
  ['a file, as it is', 'known_bad', 'hit', undefined, true, 'right'],
  ['a file, otherwise', 'known_bad', 'clean', undefined, true, 'wrong'],
  ['a file, otherwise', 'known_good', 'hit', undefined, true, 'wrong'],
  ['an upstream, as it is', 'known_good', 'clean', undefined, false, 'right'],
  ['an upstream, otherwise', 'known_good', 'hit', undefined, false, 'ask'],
  ['an upstream, otherwise, and another as it is', 'known_good', 'hit', 'clean', false, 'wrong'],
  ['an upstream, otherwise, and another as it is', 'known_bad', 'clean', 'hit', false, 'wrong'],
  ['an upstream, otherwise, and another too', 'known_bad', 'clean', 'clean', false, 'open'],
] as const)('who says of %s what is known (%s) says what is %5$s', (_, known, says, other, isFile, found) => {
  expect(judgeKnown({ known, says, other, isFile })).toBe(found)
})

test('an answer that reads the same from its end is no known bad one, nor is a short one', () => {
  const of = (text: string) =>
    knownBadOf({ ...emptyAnswer('m'), tokens: [...text].map((letter) => ({ id: 7, piece: Buffer.from(letter) })) })
  expect(of('abcd')?.tokens.map(({ piece }) => piece.toString())).toEqual(['d', 'c', 'b', 'a'])
  expect([of('abba'), of('aaaa'), of('abc')]).toEqual([undefined, undefined, undefined])
})
