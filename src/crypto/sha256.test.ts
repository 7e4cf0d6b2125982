import { createHash, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { sha256 } from './sha256.ts'

test('it is the hash that node:crypto gives, of few and of many messages, in however many parts', () => {
  for (let n = 0; n < 1_000; n++) {
    const parts = [randomBytes(n % 301), randomBytes((7 * n) % 90)]
    const one = createHash('sha256').update(Buffer.concat(parts)).digest()
    expect(sha256(...parts).equals(one)).toBe(true)
    expect(sha256(Buffer.concat(parts)).equals(one)).toBe(true)
  }
})

test('a digest is not changed by the next one', () => {
  const digests = Array.from({ length: 400 }, (_, n) => sha256(Buffer.of(n & 0xff)))
  expect(new Set(digests.map((digest) => digest.toString('hex'))).size).toBe(256)
})
