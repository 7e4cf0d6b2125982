import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatCredits, parseCredits } from './credits.ts'

describe('credits as people write them', () => {
  test.each([
    ['0', 0n],
    ['10', 10_000_000n],
    ['0.25', 250_000n],
    ['0.000001', 1n],
    ['999999999999.999999', 999_999_999_999_999_999n],
    ['007', 7_000_000n],
    ['1.50', 1_500_000n],
  ])('%s is read exactly', (text, micro) => {
    expect(parseCredits(text)).toBe(micro)
  })

  test.each(['', '-1', '+1', '1e3', '1,5', '.5', '5.', '0.0000001', '1000000000000', ' 1', '1 ', '0x10', '١'])(
    '%j is no number of credits',
    (text) => {
      expect(parseCredits(text)).toBeUndefined()
    },
  )

  test('what is written is read as the same amount, whatever it is', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 10n ** 18n - 1n), (micro) => {
        expect(parseCredits(formatCredits(micro))).toBe(micro)
      }),
    )
  })

  test('a debt has its sign in front, and no zeros behind', () => {
    expect(formatCredits(-1_500_000n)).toBe('-1.5')
    expect(formatCredits(-1n)).toBe('-0.000001')
    expect(formatCredits(100_000_000n)).toBe('100')
  })
})
