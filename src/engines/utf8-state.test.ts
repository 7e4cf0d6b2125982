import fc from 'fast-check'
import { expect, test } from 'vitest'
import { utf8After } from './utf8-state.ts'

const wellFormed = (bytes: Buffer) => {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

test('bytes are well-formed exactly when a strict decoder takes them', () => {
  const lead = fc.constantFrom(
    0x41,
    0x80,
    0xbf,
    0xc0,
    0xc2,
    0xe0,
    0xa0,
    0xed,
    0x9f,
    0xef,
    0xf0,
    0x90,
    0xf4,
    0x8f,
    0xf5,
    0xff,
  )
  const bytes = fc.array(fc.oneof(lead, fc.nat(255)), { maxLength: 6 }).map((list) => Buffer.from(list))
  fc.assert(
    fc.property(bytes, (sample) => {
      expect(utf8After(0, sample) === 0).toBe(wellFormed(sample))
    }),
    { numRuns: 5_000 },
  )
})

test('every text is well-formed however it is cut, and never ends within a letter', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.nat(20), (text, cut) => {
      const bytes = Buffer.from(text)
      const middle = utf8After(0, bytes.subarray(0, cut))
      expect(middle).toBeGreaterThanOrEqual(0)
      expect(utf8After(middle, bytes.subarray(cut))).toBe(0)
    }),
  )
})
