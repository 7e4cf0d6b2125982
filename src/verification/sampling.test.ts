import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { epochCommitment, epochOf, selects } from '#protocol'
import { checkProfiles, checkRatePpm, pick, pickSome, transcriptOf, uniform } from './sampling.ts'

const hashOf = (text: string) => createHash('sha256').update(text).digest()
/** Key 00 01 … 1f and sha256("statement"): every number below was computed by Python's hmac and hashlib. */
const sample = { epochKey: Buffer.from(Array.from({ length: 32 }, (_, i) => i)), statementHash: hashOf('statement') }
const statements = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ ...sample, statementHash: hashOf(`statement ${i}`) }))

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes))
const samples = fc.record({ epochKey: bytes32, statementHash: bytes32 })

/** Sum of (observed − expected)² / expected. */
const chiSquare = (counts: readonly number[]) => {
  const expected = counts.reduce((a, b) => a + b, 0) / counts.length
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
}

describe('who is checked', () => {
  test('an hour of UTC is an epoch', () => {
    expect(epochOf(0)).toBe(0)
    expect(epochOf(3_599_999)).toBe(0)
    expect(epochOf(3_600_000)).toBe(1)
    expect(epochOf(Date.UTC(2026, 0, 1, 12, 30))).toBe(Date.UTC(2026, 0, 1, 12) / 3_600_000)
  })

  test('the pool commits to a key before the epoch, and anybody can compare it afterwards', () => {
    expect(epochCommitment(sample.epochKey).toString('hex')).toBe(
      '38a511934aafd2e24d5d828d91b97fbea48e46e874c11623d89787f19e09839b',
    )
    expect(() => epochCommitment(Buffer.alloc(31))).toThrow('32 bytes')
  })

  test('a statement is checked from exactly the rate on at which its word falls below the threshold', () => {
    expect(selects({ ...sample, qPpm: 892_783 })).toBe(false)
    expect(selects({ ...sample, qPpm: 892_784 })).toBe(true)
  })

  test('nobody is checked at rate 0, everybody at rate 1, and a higher rate never lets anybody go', () => {
    const rate = fc.integer({ min: 0, max: 1_000_000 })
    fc.assert(
      fc.property(samples, rate, rate, (of, a, b) => {
        expect(selects({ ...of, qPpm: 0 })).toBe(false)
        expect(selects({ ...of, qPpm: 1_000_000 })).toBe(true)
        const [low, high] = [Math.min(a, b), Math.max(a, b)]
        if (selects({ ...of, qPpm: low })) expect(selects({ ...of, qPpm: high })).toBe(true)
      }),
    )
  })

  test('of 20,000 statements the rate is checked, within five standard deviations', () => {
    const all = statements(20_000)
    for (const qPpm of [1_000, 30_000, 500_000]) {
      const checked = all.filter((of) => selects({ ...of, qPpm })).length
      const q = qPpm / 1e6
      expect(Math.abs(checked - 20_000 * q)).toBeLessThan(5 * Math.sqrt(20_000 * q * (1 - q)))
    }
  })

  test.each([-1, 0.5, 1_000_001, Number.NaN])('a rate of %s ppm is a mistake of ours', (qPpm) => {
    expect(() => selects({ ...sample, qPpm })).toThrow('parts per million')
  })
})

describe('who verifies, and what', () => {
  test('one of seven is picked as another implementation picks', () => {
    expect(pick({ ...sample, label: 'verifier', n: 7 })).toBe(6)
    expect(pick({ ...sample, label: 'position', n: 7 })).toBe(3)
    expect(pick({ ...sample, label: 'canary', n: 7 })).toBe(6)
  })

  test('six of a hundred positions are picked as another implementation picks, beyond the first block of words', () => {
    expect(pickSome({ ...sample, label: 'position', n: 100, count: 6 })).toEqual([55, 84, 24, 95, 12, 48])
    expect(pickSome({ ...sample, label: 'verifier', n: 12, count: 3 })).toEqual([8, 2, 3])
  })

  test('words of the incomplete last run are passed over, so that no index is likelier than another', () => {
    const scripted = (...words: bigint[]) => words[Symbol.iterator]() as Iterator<bigint, never>
    const last = (1n << 64n) - 1n // 2^64 = 3k + 1: for three the last word is one too many
    expect(uniform(scripted(last, 7n), 3)).toBe(1)
    expect(uniform(scripted(last - 1n), 3)).toBe(2)
    expect(uniform(scripted(last), 2 ** 32)).toBe(2 ** 32 - 1)
    expect(uniform(scripted(last), 1)).toBe(0)
  })

  test('every verifier is as likely as every other', () => {
    const counts = new Array<number>(7).fill(0)
    for (const of of statements(14_000)) {
      const i = pick({ ...of, label: 'verifier', n: 7 })
      counts[i] = (counts[i] ?? 0) + 1
    }
    expect(chiSquare(counts)).toBeLessThan(27.86) // 99.99 % of χ² with 6 degrees of freedom
  })

  test('every order of three is as likely as every other', () => {
    const counts = new Map<string, number>()
    for (const of of statements(12_000)) {
      const order = pickSome({ ...of, label: 'verifier', n: 3, count: 3 }).join()
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    expect(counts.size).toBe(6)
    expect(chiSquare([...counts.values()])).toBeLessThan(25.74) // 99.99 % with 5 degrees of freedom
  })

  test('what is picked is different, exists, begins with the single pick, and does not depend on how many are asked for', () => {
    const asked = fc
      .integer({ min: 1, max: 300 })
      .chain((n) => fc.tuple(fc.constant(n), fc.integer({ min: 1, max: n })))
    fc.assert(
      fc.property(samples, asked, (of, [n, count]) => {
        const picked = pickSome({ ...of, label: 'position', n, count })
        expect(new Set(picked).size).toBe(count)
        expect(picked.every((i) => Number.isInteger(i) && i >= 0 && i < n)).toBe(true)
        expect(picked[0]).toBe(pick({ ...of, label: 'position', n }))
        expect(pickSome({ ...of, label: 'position', n, count: n }).slice(0, count)).toEqual(picked)
      }),
    )
  })

  test('nobody picks from none, or more than there are', () => {
    expect(() => pick({ ...sample, label: 'verifier', n: 0 })).toThrow('at least one')
    expect(() => pickSome({ ...sample, label: 'verifier', n: 3, count: 4 })).toThrow('more than there are')
  })

  test('one transcript in ten is known to be bad and one in ten known to be good', () => {
    const kinds = statements(10_000).map(transcriptOf)
    for (const [kind, share] of [
      ['known_bad', 0.1],
      ['known_good', 0.1],
      ['real', 0.8],
    ] as const) {
      const seen = kinds.filter((other) => other === kind).length
      expect(Math.abs(seen - 10_000 * share)).toBeLessThan(5 * Math.sqrt(10_000 * share * (1 - share)))
    }
  })
})

describe('how often', () => {
  test.each([
    ['sampled', 0, 1_000_000],
    ['sampled', 19, 1_000_000],
    ['sampled', 20, 857_143],
    ['sampled', 35, 500_000],
    ['sampled', 179, 100_000],
    ['sampled', 598, 30_051],
    ['sampled', 599, 30_000],
    ['sampled', 1e9, 30_000],
    ['strict', 178, 100_559],
    ['strict', 5_000, 100_000],
    ['required', 5_000, 1_000_000],
  ] as const)('%s: after %i clean checks %i of a million are checked', (profile, clean, ppm) => {
    expect(checkRatePpm({ clean, profile: checkProfiles[profile] })).toBe(ppm)
  })
})
