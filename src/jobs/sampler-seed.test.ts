import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { samplerSeed } from './sampler-seed.ts'

test('a seed is sha256 of the domain tag and eight big-endian bytes', () => {
  const expected = createHash('sha256')
    .update('lichen-sampler-seed/1')
    .update(Buffer.from('0000000000000007', 'hex'))
    .digest('hex')
  expect(samplerSeed(7).toString('hex')).toBe(expected)
  expect(samplerSeed(7n).toString('hex')).toBe(expected)
})

test('negative seeds and the ends of the range are seeds of their own', () => {
  const seeds = [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)].map((seed) => samplerSeed(seed).toString('hex'))
  expect(new Set(seeds).size).toBe(4)
})
