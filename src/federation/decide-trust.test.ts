import { expect, test } from 'vitest'
import { compareOutcomes, decidePromotion, whyLower } from './decide-trust.ts'

const known = { trust: 1, revoked: false, version: 2, theirLevel: 0 } as const

test('a pool is trusted with jobs by one human, and bonded by two', () => {
  expect(decidePromotion(known, 2)).toEqual({ ok: true, trust: 2, awaiting: false })
  expect(decidePromotion(known, 3)).toEqual({ ok: true, trust: 2, awaiting: true })
  expect(decidePromotion({ ...known, theirLevel: 3 }, 3)).toEqual({ ok: true, trust: 3, awaiting: false })
  expect(decidePromotion({ ...known, theirLevel: 3 }, 4)).toEqual({ ok: true, trust: 3, awaiting: true })
  expect(decidePromotion({ ...known, theirLevel: 4 }, 4)).toEqual({ ok: true, trust: 4, awaiting: false })
})

test('a pool of version 1 cannot accept, so one side decides', () => {
  expect(decidePromotion({ ...known, version: 1 }, 3)).toEqual({ ok: true, trust: 3, awaiting: false })
})

test('what is revoked stays so, and nobody is promoted to where they stand', () => {
  expect(decidePromotion({ ...known, trust: 0, revoked: true }, 2)).toEqual({ ok: false, why: 'revoked' })
  expect(decidePromotion({ ...known, trust: 3 }, 3)).toEqual({ ok: false, why: 'not_higher' })
  expect(decidePromotion({ ...known, trust: 3 }, 2)).toEqual({ ok: false, why: 'not_higher' })
})

test('three wrong answers, or failures without end, lower trust; a bad hour does not', () => {
  const limits = { mismatchesMax: 3, failuresMax: 50 }
  expect(whyLower({ successes: 9_000, failures: 0, mismatches: 2 }, limits)).toBeUndefined()
  expect(whyLower({ successes: 9_000, failures: 0, mismatches: 3 }, limits)).toContain('3 wrong answers')
  expect(whyLower({ successes: 60, failures: 50, mismatches: 0 }, limits)).toBeUndefined()
  expect(whyLower({ successes: 49, failures: 50, mismatches: 0 }, limits)).toContain('50 failures')
})

test('who answered well is asked first, and who was wrong last', () => {
  const of = (successes: number, failures: number, mismatches = 0) => ({ successes, failures, mismatches })
  const [good, fresh, bad, wrong] = [of(9, 1), of(0, 0), of(1, 9), of(900, 0, 1)]
  expect([wrong, bad, fresh, good].sort(compareOutcomes)).toEqual([good, fresh, bad, wrong])
})
