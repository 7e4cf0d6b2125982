import { expect, test } from 'vitest'
import { identityFromSeed, inclusionPath, leafHash, merkleRoot, verifySignature } from '#crypto'
import { BatchSigner } from './batch-signer.ts'
import { digestOf, type SignedType } from './digest.ts'
import { batchBytes, rootOfPath, signBatch } from './signature.ts'
import { SignatureChecker } from './signature-checker.ts'

const alice = identityFromSeed(Buffer.alloc(32, 1))
const items = (n: number) =>
  Array.from({ length: n }, (_, i) => ({ type: 'order/1' as SignedType, bytes: Buffer.from(`message ${i}`) }))

test.each([1, 2, 3, 4, 5, 7, 8, 9, 33, 100])(
  'each of %i messages is covered by the one signature of its batch',
  (n) => {
    const batch = items(n)
    const leaves = batch.map(({ type, bytes }) => leafHash(digestOf(type, bytes)))
    const signatures = signBatch(alice, batch)
    const checker = new SignatureChecker()
    signatures.forEach((signature, i) => {
      expect(signature.path).toEqual(inclusionPath(leaves, i))
      expect(checker.verify(signature, digestOf('order/1', Buffer.from(`message ${i}`)))).toBe(true)
      expect(checker.verify(signature, digestOf('order/1', Buffer.from(`message ${i + 1}`)))).toBe(false)
    })
    expect(
      verifySignature(alice.publicKey, batchBytes(merkleRoot(leaves)), signatures[0]?.sig ?? Buffer.alloc(0)),
    ).toBe(true)
  },
)

test('a signature for one type of message is none for another', () => {
  const [signature] = signBatch(alice, items(1))
  if (!signature) throw new Error('unsigned')
  const checker = new SignatureChecker()
  expect(checker.verify(signature, digestOf('grant/1', Buffer.from('message 0')))).toBe(false)
  expect(checker.verify(signature, digestOf('order/1', Buffer.from('message 0')))).toBe(true)
})

test('no changed member of a signature verifies', () => {
  const signature = signBatch(alice, items(6))[4]
  if (!signature) throw new Error('unsigned')
  const digest = digestOf('order/1', Buffer.from('message 4'))
  const flipped = (bytes: Buffer) => Buffer.from(bytes.map((byte, at) => (at === 3 ? byte ^ 1 : byte)))
  const changed = [
    { ...signature, key: flipped(signature.key) },
    { ...signature, key: identityFromSeed(Buffer.alloc(32, 2)).publicKey },
    { ...signature, sig: flipped(signature.sig) },
    { ...signature, index: 3 },
    { ...signature, index: 6 },
    { ...signature, size: 20 },
    { ...signature, path: signature.path.slice(1) },
    { ...signature, path: [...signature.path, Buffer.alloc(32)] },
    { ...signature, path: signature.path.map((hash, at) => (at === 0 ? flipped(hash) : hash)) },
  ]
  const checker = new SignatureChecker()
  expect(checker.verify(signature, digest)).toBe(true)
  for (const other of changed) expect(checker.verify(other, digest)).toBe(false)
  expect(rootOfPath(leafHash(digest), { index: 0, size: 1, path: [] })).toEqual(leafHash(digest))
})

test('a key of small order signs nothing, whatever OpenSSL thinks of it', () => {
  const key = Buffer.alloc(32)
  key[0] = 1
  const sig = Buffer.concat([key, Buffer.alloc(32)])
  expect(new SignatureChecker().verify({ key, sig, index: 0, size: 1, path: [] }, Buffer.alloc(32))).toBe(false)
})

test('everything asked for in one turn of the event loop shares a signature', async () => {
  let signed = 0
  const counting = {
    publicKey: alice.publicKey,
    sign(bytes: Buffer) {
      signed += 1
      return alice.sign(bytes)
    },
  }
  const signer = new BatchSigner(counting)
  const signatures = await Promise.all(items(50).map(({ type, bytes }) => signer.sign(type, bytes)))
  const checker = new SignatureChecker()
  for (const [i, { bytes }] of items(50).entries()) {
    const signature = signatures[i]
    expect(signature && checker.verify(signature, digestOf('order/1', bytes))).toBe(true)
  }
  expect(signed).toBe(1)
  await signer.sign('order/1', Buffer.from('later'))
  expect(signed).toBe(2)
})

test('a key that fails is told to whoever asked', async () => {
  const broken = {
    publicKey: alice.publicKey,
    sign: () => {
      throw new Error('no key')
    },
  }
  await expect(new BatchSigner(broken).sign('order/1', Buffer.from('x'))).rejects.toThrow('no key')
})
