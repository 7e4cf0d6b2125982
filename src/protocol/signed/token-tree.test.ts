import { expect, test } from 'vitest'
import { emptyRoot, leafHash, merkleRoot, sha256 } from '#crypto'
import { bodyCommitment } from './body-commitment.ts'
import { TokenTree } from './token-tree.ts'

test('pool and worker come to the same root however the pieces arrive', () => {
  const tree = new TokenTree()
  expect(tree.root()).toEqual(emptyRoot)
  tree.add({ id: 258, piece: Buffer.from('é') })
  tree.addDelta({ b: 1, a: 2 })
  tree.addVector(3, Buffer.alloc(8, 1))
  const leaves = ['00000102c3a9', `fffffffe${Buffer.from('{"a":2,"b":1}').toString('hex')}`, '000000030101010101010101']
  expect(tree.tokens).toBe(3)
  expect(tree.root()).toEqual(merkleRoot(leaves.map((leaf) => leafHash(Buffer.from(leaf, 'hex')))))
})

test('the commitment opens with the salt and the exact body only', () => {
  const commitment = bodyCommitment(Buffer.alloc(32, 1), Buffer.from('{}'))
  expect(commitment).toEqual(sha256(Buffer.from(`lichen/body/1\n${'\u0001'.repeat(32)}{}`)))
  expect(bodyCommitment(Buffer.alloc(32, 1), Buffer.from('{} '))).not.toEqual(commitment)
})
