import { readFileSync } from 'node:fs'
import { ed25519 } from '@noble/curves/ed25519.js'
import { expect, test } from 'vitest'
import { acceptPublicKey } from './accept-public-key.ts'
import { generateIdentity, identityFromSeed, importPublicKey, verifySignature } from './identity.ts'
import { sha256 } from './sha256.ts'

const vectors = new URL('../../spec/vectors/ed25519/verify.json', import.meta.url)
const cases: { public_key: string; message: string; signature: string; ok: boolean; comment: string }[] = JSON.parse(
  readFileSync(vectors, 'utf8'),
)
const hex = (text: string) => Buffer.from(text, 'hex')

test('a seed always makes the same identity, named by the hash of its public key', () => {
  const identity = identityFromSeed(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))
  expect(identity.publicKey.toString('hex')).toBe('03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8')
  expect(identity.id).toBe('56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c')
  expect(identity.id).toBe(sha256(identity.publicKey).toString('hex'))
})

test('what an identity signs verifies here and elsewhere, and nothing else does', () => {
  const identity = generateIdentity({ randomBytes: (n) => Buffer.alloc(n, 7) })
  const message = Buffer.from('lent, not given')
  const signature = identity.sign(message)
  expect(verifySignature(identity.publicKey, message, signature)).toBe(true)
  expect(verifySignature(importPublicKey(identity.publicKey), message, signature)).toBe(true)
  expect(ed25519.verify(signature, message, identity.publicKey)).toBe(true)
  expect(verifySignature(identity.publicKey, Buffer.from('lent, not giveN'), signature)).toBe(false)
})

test.each(cases)('accept the key, then verify: $comment', ({ public_key, message, signature, ok }) => {
  const accepted = acceptPublicKey(hex(public_key)).ok
  expect(accepted && verifySignature(hex(public_key), hex(message), hex(signature))).toBe(ok)
})

test('by the equation alone one constant signature verifies for every message under a weak key', () => {
  const weak = cases.filter(({ comment }) => comment.startsWith('the'))
  expect(weak).toHaveLength(2)
  for (const { public_key, message, signature } of weak) {
    expect(ed25519.verify(hex(signature), hex(message), hex(public_key), { zip215: true })).toBe(true)
  }
})

test('bytes of a wrong length are no signature, no key and no seed', () => {
  const { publicKey } = identityFromSeed(Buffer.alloc(32, 1))
  expect(verifySignature(publicKey, Buffer.alloc(0), Buffer.alloc(63))).toBe(false)
  expect(verifySignature(publicKey.subarray(1), Buffer.alloc(0), Buffer.alloc(64))).toBe(false)
  expect(() => importPublicKey(Buffer.alloc(31))).toThrow('32 bytes')
  expect(() => identityFromSeed(Buffer.alloc(33))).toThrow('32 bytes')
})
