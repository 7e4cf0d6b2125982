import { readFileSync } from 'node:fs'
import { ed25519 } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { acceptPublicKey } from './accept-public-key.ts'

interface KeyCase {
  public_key: string
  ok: boolean
  reason?: string
  comment: string
}

const vectors = new URL('../../spec/vectors/ed25519/accept-key.json', import.meta.url)
const cases: KeyCase[] = JSON.parse(readFileSync(vectors, 'utf8'))

/** The policy in the words of another library. */
function oracle(raw: Buffer): boolean {
  try {
    const point = ed25519.Point.fromBytes(raw, false)
    return !point.isSmallOrder() && point.isTorsionFree()
  } catch {
    return false
  }
}

describe('published and made cases', () => {
  test.each(cases)('$comment', ({ public_key, ok, reason }) => {
    const raw = Buffer.from(public_key, 'hex')
    expect(acceptPublicKey(raw)).toEqual(ok ? { ok } : { ok, reason })
    expect(oracle(raw)).toBe(ok)
  })

  test('all eight points of small order are among them', () => {
    expect(cases.filter(({ reason }) => reason === 'small_order')).toHaveLength(8)
  })
})

test('the key of every seed is accepted', () => {
  const seed = fc.uint8Array({ minLength: 32, maxLength: 32 })
  fc.assert(
    fc.property(seed, (bytes) => acceptPublicKey(Buffer.from(ed25519.getPublicKey(bytes))).ok),
    { numRuns: 50 },
  )
})

test('any 32 bytes get the answer another library gives', () => {
  const raw = fc.uint8Array({ minLength: 32, maxLength: 32 })
  fc.assert(
    fc.property(raw, (bytes) => acceptPublicKey(Buffer.from(bytes)).ok === oracle(Buffer.from(bytes))),
    { numRuns: 200 },
  )
})

test('a good key with a small-order part added is refused', () => {
  const small = cases.filter(({ reason }) => reason === 'small_order').map(({ public_key }) => public_key)
  const scalar = fc.bigInt({ min: 1n, max: ed25519.Point.Fn.ORDER - 1n })
  fc.assert(
    fc.property(scalar, fc.constantFrom(...small), (k, hex) => {
      const part = ed25519.Point.fromHex(hex)
      const mixed = ed25519.Point.BASE.multiply(k).add(part)
      return acceptPublicKey(Buffer.from(mixed.toBytes())).ok === part.is0()
    }),
    { numRuns: 50 },
  )
})
