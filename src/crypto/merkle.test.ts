import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CompactTree,
  consistencyPath,
  emptyRoot,
  inclusionPath,
  leafHash,
  merkleRoot,
  nodeHash,
  verifyConsistency,
  verifyInclusion,
} from './merkle.ts'

const leafOf = (n: number) => leafHash(Buffer.from(`leaf ${n}`))
const leaves = Array.from({ length: 70 }, (_, n) => leafOf(n))
const first = (n: number) => leaves.slice(0, n)
const at = (n: number) => leaves[n] as Buffer

/** The definition of RFC 9162 §2.1.1, word for word. */
function definedRoot(of: readonly Buffer[]): Buffer {
  if (of.length === 0) return emptyRoot
  if (of.length === 1) return of[0] as Buffer
  let k = 1
  while (k * 2 < of.length) k *= 2
  return nodeHash(definedRoot(of.slice(0, k)), definedRoot(of.slice(k)))
}

function flipped(hash: Buffer, bit: number): Buffer {
  const copy = Buffer.from(hash)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}

/** Eight leaves whose roots were published with the certificate transparency reference implementation. */
const published = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const publishedRoots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

test('the roots are those of the published tree', () => {
  const hashes = published.map((hex) => leafHash(Buffer.from(hex, 'hex')))
  expect(publishedRoots.map((_, size) => merkleRoot(hashes.slice(0, size)).toString('hex'))).toEqual(publishedRoots)
})

test('a tree grown leaf by leaf has the defined root at every size, also from its edge alone', () => {
  let tree = new CompactTree()
  for (let size = 0; size < leaves.length; size++) {
    expect(tree.root()).toEqual(definedRoot(first(size)))
    tree = new CompactTree(tree.size, tree.frontier)
    tree.append(at(size))
  }
})

test('a copy of a tree grows by itself', () => {
  const tree = new CompactTree()
  tree.append(at(0))
  const copy = tree.clone()
  copy.append(at(1))
  expect([tree.size, copy.size]).toEqual([1, 2])
  expect(tree.root()).toEqual(at(0))
})

test('an edge that does not belong to the size is refused', () => {
  expect(() => new CompactTree(3, [at(0)])).toThrow(RangeError)
  expect(() => new CompactTree(-1)).toThrow(RangeError)
  expect(() => new CompactTree(2 ** 53)).toThrow(RangeError)
  expect(() => nodeHash(at(0), Buffer.alloc(31))).toThrow(TypeError)
  expect(() => inclusionPath(first(3), 3)).toThrow(RangeError)
  expect(() => consistencyPath(first(3), 4)).toThrow(RangeError)
})

describe('inclusion', () => {
  test('every leaf of every small tree is proven, and at no other place or size', () => {
    for (let size = 1; size <= 40; size++) {
      const root = merkleRoot(first(size))
      for (let index = 0; index < size; index++) {
        const proof = { leaf: at(index), index, size, path: inclusionPath(first(size), index), root }
        expect(verifyInclusion(proof)).toBe(true)
        for (const other of [index - 1, index + 1]) expect(verifyInclusion({ ...proof, index: other })).toBe(false)
        expect(verifyInclusion({ ...proof, leaf: leafOf(99) })).toBe(false)
        expect(verifyInclusion({ ...proof, path: [...proof.path, root] })).toBe(false)
        if (size > 1) expect(verifyInclusion({ ...proof, path: proof.path.slice(1) })).toBe(false)
        if (size > 1) expect(verifyInclusion({ ...proof, path: proof.path.slice(0, -1) })).toBe(false)
      }
    }
  })

  test('one changed bit anywhere in leaf, path or root is refused', () => {
    const anyProof = fc
      .integer({ min: 1, max: 64 })
      .chain((size) =>
        fc.record({ size: fc.constant(size), index: fc.nat(size - 1), bit: fc.nat(255), which: fc.nat() }),
      )
    fc.assert(
      fc.property(anyProof, ({ size, index, bit, which }) => {
        const path = inclusionPath(first(size), index)
        const hashes = [at(index), merkleRoot(first(size)), ...path]
        const changed = hashes.map((hash, n) => (n === which % hashes.length ? flipped(hash, bit) : hash))
        const [leaf, root, ...rest] = changed as [Buffer, Buffer, ...Buffer[]]
        return !verifyInclusion({ leaf, index, size, path: rest, root })
      }),
      { numRuns: 500 },
    )
  })

  test('an inner node does not pass for a leaf', () => {
    const node = nodeHash(at(0), at(1))
    const path = [nodeHash(at(2), at(3))]
    const root = merkleRoot(first(4))
    expect(verifyInclusion({ leaf: node, index: 0, size: 4, path, root })).toBe(false)
  })

  test('numbers and hashes that are none are refused without a throw', () => {
    const proof = { leaf: at(0), index: 0, size: 1, path: [], root: at(0) }
    expect(verifyInclusion(proof)).toBe(true)
    for (const index of [-1, 0.5, Number.NaN, 1, 2 ** 53]) expect(verifyInclusion({ ...proof, index })).toBe(false)
    for (const size of [0, -1, 1.5, Number.POSITIVE_INFINITY]) expect(verifyInclusion({ ...proof, size })).toBe(false)
    expect(verifyInclusion({ ...proof, leaf: Buffer.alloc(31) })).toBe(false)
    expect(verifyInclusion({ ...proof, size: 2, path: [Buffer.alloc(33)] })).toBe(false)
  })

  test('a leaf beyond 2^32 is walked without losing bits', () => {
    const depth = 52
    const path = Array.from({ length: depth }, (_, n) => leafOf(1_000 + n))
    const root = path.reduce((hash, sibling) => nodeHash(sibling, hash), at(0))
    const proof = { leaf: at(0), index: 2 ** depth - 1, size: 2 ** depth, path, root }
    expect(verifyInclusion(proof)).toBe(true)
    expect(verifyInclusion({ ...proof, index: 2 ** depth - 2 ** 33 - 1 })).toBe(false)
  })
})

describe('consistency', () => {
  const proofOf = (oldSize: number, newSize: number) => ({
    oldSize,
    newSize,
    oldRoot: merkleRoot(first(oldSize)),
    newRoot: merkleRoot(first(newSize)),
    path: consistencyPath(first(newSize), oldSize),
  })

  test('every small tree is the proven beginning of every larger one, and of no other', () => {
    for (let newSize = 0; newSize <= 34; newSize++) {
      for (let oldSize = 0; oldSize <= newSize; oldSize++) {
        const proof = proofOf(oldSize, newSize)
        expect(verifyConsistency(proof)).toBe(true)
        expect(verifyConsistency({ ...proof, path: [...proof.path, at(0)] })).toBe(false)
        expect(verifyConsistency({ ...proof, oldRoot: leafOf(98) })).toBe(false)
        if (proof.path.length > 0) {
          expect(verifyConsistency({ ...proof, newRoot: leafOf(98) })).toBe(false)
          expect(verifyConsistency({ ...proof, path: proof.path.slice(1) })).toBe(false)
          expect(verifyConsistency({ ...proof, path: proof.path.slice(0, -1) })).toBe(false)
          expect(verifyConsistency({ ...proof, path: [] })).toBe(false)
        }
      }
    }
  })

  test('a leaf edited, dropped or put in before the old end is never proven', () => {
    const edits = fc.integer({ min: 1, max: 60 }).chain((oldSize) =>
      fc.record({
        oldSize: fc.constant(oldSize),
        where: fc.nat(oldSize - 1),
        more: fc.integer({ min: 1, max: 8 }),
        edit: fc.constantFrom<readonly Buffer[]>([], [leafOf(97)], [leafOf(97), leafOf(96)]),
      }),
    )
    fc.assert(
      fc.property(edits, ({ oldSize, where, more, edit }) => {
        const forged = [...first(oldSize).slice(0, where), ...edit, ...leaves.slice(where + 1, oldSize + more)]
        if (forged.length < oldSize) return true
        const path = consistencyPath(forged, oldSize)
        const [oldRoot, newRoot] = [merkleRoot(first(oldSize)), merkleRoot(forged)]
        return !verifyConsistency({ oldSize, oldRoot, newSize: forged.length, newRoot, path })
      }),
      { numRuns: 500 },
    )
  })

  test('a shrinking tree, sizes that are none and hashes of a wrong length are refused', () => {
    const proof = proofOf(3, 7)
    expect(verifyConsistency({ ...proof, oldSize: 8 })).toBe(false)
    expect(verifyConsistency({ ...proof, oldSize: 2.5 })).toBe(false)
    expect(verifyConsistency({ ...proof, newSize: Number.NaN })).toBe(false)
    expect(verifyConsistency({ ...proof, newRoot: Buffer.alloc(0) })).toBe(false)
    expect(verifyConsistency({ ...proof, path: proof.path.map((hash) => hash.subarray(1)) })).toBe(false)
    expect(verifyConsistency({ oldSize: 0, oldRoot: at(0), newSize: 0, newRoot: at(0), path: [] })).toBe(false)
  })
})
