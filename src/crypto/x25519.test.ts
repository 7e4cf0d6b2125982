import { x25519 } from '@noble/curves/ed25519.js'
import { expect, test } from 'vitest'
import { dhKeyFromSeed, diffieHellman, generateDhKey, importDhPublicKey } from './x25519.ts'

const hex = (text: string) => Buffer.from(text, 'hex')

test('Alice and Bob of RFC 7748 §6.1 share the published secret', () => {
  const alice = dhKeyFromSeed(hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'))
  const bob = dhKeyFromSeed(hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'))
  expect(alice.publicKey.toString('hex')).toBe('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a')
  const secret = hex('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742')
  expect(diffieHellman(alice, importDhPublicKey(bob.publicKey))).toEqual(secret)
  expect(diffieHellman(bob, importDhPublicKey(alice.publicKey))).toEqual(secret)
})

test('two keys agree with each other and with another library', () => {
  const mine = generateDhKey({ randomBytes: (n) => Buffer.alloc(n, 0x21) })
  const theirs = dhKeyFromSeed(Buffer.alloc(32, 0x42))
  const secret = diffieHellman(mine, importDhPublicKey(theirs.publicKey))
  expect(secret).toEqual(diffieHellman(theirs, importDhPublicKey(mine.publicKey)))
  expect(secret).toEqual(Buffer.from(x25519.getSharedSecret(Buffer.alloc(32, 0x21), theirs.publicKey)))
})

/** Keys of small order and their second encodings (RFC 7748 §7; https://cr.yp.to/ecdh.html#validate). */
const smallOrder = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]

test.each(smallOrder)('the small-order key %s gives no secret', (publicKey) => {
  expect(diffieHellman(dhKeyFromSeed(Buffer.alloc(32, 9)), importDhPublicKey(hex(publicKey)))).toBeUndefined()
})

test('bytes of a wrong length are no key', () => {
  expect(() => importDhPublicKey(Buffer.alloc(31))).toThrow('32 bytes')
  expect(() => dhKeyFromSeed(Buffer.alloc(31))).toThrow('32 bytes')
})
