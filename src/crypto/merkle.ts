import { sha256, sha256Text } from './sha256.ts'

/**
 * The history tree of RFC 9162 §2.1: roots, proofs and their verification. Sizes and indices are safe integers
 * (≤ 2^53-1), hashes 32 bytes. Verification never throws on what came from outside: what does not fit is false.
 */

/** Root of the tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Buffer = sha256(Buffer.alloc(0))

const leafTag = Buffer.of(0)
const hashBytes = 32

/** Hash of a leaf. Its tag differs from a node's, so neither can pass for the other. */
export function leafHash(data: Buffer): Buffer {
  return sha256(leafTag, data)
}

/** One buffer for every inner node: it is hashed before the next call writes it. */
const nodeBytes = Buffer.alloc(1 + 2 * hashBytes, 1)

/** Hash of an inner node. Throws when a child does not have 32 bytes. */
export function nodeHash(left: Buffer, right: Buffer): Buffer {
  if (left.length !== hashBytes || right.length !== hashBytes) throw new TypeError('a tree hash has 32 bytes')
  nodeBytes.set(left, 1)
  nodeBytes.set(right, 1 + hashBytes)
  return sha256(nodeBytes)
}

/** The same of hashes as {@link sha256Text} gives them. */
function nodeText(left: string, right: string): string {
  nodeBytes.write(left, 1, 'latin1')
  nodeBytes.write(right, 1 + hashBytes, 'latin1')
  return sha256Text(nodeBytes)
}

/** Leaves `start` to `end`, the last one not included. */
export interface LeafRange {
  readonly start: number
  readonly end: number
}

/** Largest power of two below `n`; `n` ≥ 2. */
function splitOf(n: number): number {
  let k = 1
  while (k * 2 < n) k *= 2
  return k
}

/** The subtrees whose roots are the inclusion proof of leaf `index` in a tree of `size`, in the order of the proof. */
export function inclusionRanges(index: number, size: number): LeafRange[] {
  const ranges: LeafRange[] = []
  let [start, end] = [0, size]
  while (end - start > 1) {
    const middle = start + splitOf(end - start)
    if (index < middle) {
      ranges.push({ start: middle, end })
      end = middle
    } else {
      ranges.push({ start, end: middle })
      start = middle
    }
  }
  return ranges.reverse()
}

/** The subtrees whose roots are the consistency proof from `oldSize` (≥ 1) to `newSize`, in the order of the proof. */
export function consistencyRanges(oldSize: number, newSize: number): LeafRange[] {
  const ranges: LeafRange[] = []
  let [start, end] = [0, newSize]
  while (oldSize !== end) {
    const middle = start + splitOf(end - start)
    if (oldSize <= middle) {
      ranges.push({ start: middle, end })
      end = middle
    } else {
      ranges.push({ start, end: middle })
      start = middle
    }
  }
  if (start > 0) ranges.push({ start, end })
  return ranges.reverse()
}

/**
 * A tree of which only the right edge is kept: the roots of its perfect subtrees, largest first, one for each bit of
 * the size. Appending and the root need no more.
 */
export class CompactTree {
  #size: number
  /** As text: a tree grows by a hash a leaf, and text is what hashing gives fastest. */
  readonly #frontier: string[]

  /** Throws when `frontier` does not hold one hash for each bit of `size`. */
  constructor(size = 0, frontier: readonly Buffer[] = []) {
    if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`a tree size is a safe integer, not ${size}`)
    if (frontier.length !== bitsOf(size))
      throw new RangeError(`${frontier.length} hashes do not edge a tree of ${size}`)
    this.#size = size
    this.#frontier = frontier.map(textOf)
  }

  get size(): number {
    return this.#size
  }

  get frontier(): Buffer[] {
    return this.#frontier.map((hash) => Buffer.from(hash, 'latin1'))
  }

  /** Adds a leaf hash. Throws when it does not have 32 bytes. */
  append(leaf: Buffer): void {
    this.#append(textOf(leaf))
  }

  /** Adds the leaf of these bytes, which begin with the leaf's tag 0x00: no copy is made of them. */
  appendTagged(tagged: Buffer): void {
    this.#append(sha256Text(tagged))
  }

  root(): Buffer {
    if (this.#size === 0) return emptyRoot
    return Buffer.from(
      this.#frontier.reduceRight((right, left) => nodeText(left, right)),
      'latin1',
    )
  }

  clone(): CompactTree {
    return new CompactTree(this.#size, this.frontier)
  }

  #append(leaf: string): void {
    let subtree = leaf
    for (let n = this.#size; n % 2 === 1; n = (n - 1) / 2) subtree = nodeText(this.#frontier.pop() as string, subtree)
    this.#frontier.push(subtree)
    this.#size += 1
  }
}

function textOf(hash: Buffer): string {
  if (hash.length !== hashBytes) throw new TypeError('a tree hash has 32 bytes')
  return hash.toString('latin1')
}

function bitsOf(size: number): number {
  let bits = 0
  for (let n = size; n > 0; n = Math.floor(n / 2)) bits += n % 2
  return bits
}

/** Root over leaf hashes. */
export function merkleRoot(leaves: readonly Buffer[]): Buffer {
  const tree = new CompactTree()
  for (const leaf of leaves) tree.append(leaf)
  return tree.root()
}

/** Inclusion proof of `leaves[index]` in the tree over all of them. Throws when there is no such leaf. */
export function inclusionPath(leaves: readonly Buffer[], index: number): Buffer[] {
  if (!(index in leaves)) throw new RangeError(`there is no leaf ${index} among ${leaves.length}`)
  return inclusionRanges(index, leaves.length).map(({ start, end }) => merkleRoot(leaves.slice(start, end)))
}

/** Consistency proof of the first `oldSize` of `leaves` with all of them; empty for nothing and for all. */
export function consistencyPath(leaves: readonly Buffer[], oldSize: number): Buffer[] {
  if (oldSize < 0 || oldSize > leaves.length) throw new RangeError(`${leaves.length} leaves never were ${oldSize}`)
  if (oldSize === 0) return []
  return consistencyRanges(oldSize, leaves.length).map(({ start, end }) => merkleRoot(leaves.slice(start, end)))
}

const isSize = (n: number) => Number.isSafeInteger(n) && n >= 0
const areHashes = (hashes: readonly Buffer[]) => hashes.every((hash) => hash.length === hashBytes)
const half = (n: number) => Math.floor(n / 2)

/** Whether `path` shows that the leaf with hash `leaf` stands at `index` of the tree `root` (RFC 9162 §2.1.3.2). */
export function verifyInclusion(proof: {
  readonly leaf: Buffer
  readonly index: number
  readonly size: number
  readonly path: readonly Buffer[]
  readonly root: Buffer
}): boolean {
  const { leaf, index, size, path, root } = proof
  if (!isSize(index) || !isSize(size) || index >= size || !areHashes([leaf, root, ...path])) return false
  let [fn, sn] = [index, size - 1]
  let hash = leaf
  for (const sibling of path) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      hash = nodeHash(sibling, hash)
      for (; fn % 2 === 0 && fn > 0; fn /= 2) sn = half(sn)
    } else hash = nodeHash(hash, sibling)
    fn = half(fn)
    sn = half(sn)
  }
  return sn === 0 && hash.equals(root)
}

/**
 * Whether `path` shows that the tree `newRoot` begins with all leaves of `oldRoot`, unchanged (RFC 9162 §2.1.4.2). The
 * empty tree is the beginning of any tree, and a tree of itself; both with an empty path.
 */
export function verifyConsistency(proof: {
  readonly oldSize: number
  readonly oldRoot: Buffer
  readonly newSize: number
  readonly newRoot: Buffer
  readonly path: readonly Buffer[]
}): boolean {
  const { oldSize, oldRoot, newSize, newRoot, path } = proof
  if (!isSize(oldSize) || !isSize(newSize) || oldSize > newSize || !areHashes([oldRoot, newRoot, ...path])) return false
  if (newSize === 0 && !newRoot.equals(emptyRoot)) return false
  if (oldSize === newSize) return path.length === 0 && oldRoot.equals(newRoot)
  if (oldSize === 0) return path.length === 0 && oldRoot.equals(emptyRoot)
  // a perfect old tree is itself the first node of the walk, and is left out of the proof
  const [first, ...rest] = bitsOf(oldSize) === 1 && path.length > 0 ? [oldRoot, ...path] : path
  if (!first) return false
  let [fn, sn] = [oldSize - 1, newSize - 1]
  for (; fn % 2 === 1; fn = half(fn)) sn = half(sn)
  let [old, now] = [first, first]
  for (const sibling of rest) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      old = nodeHash(sibling, old)
      now = nodeHash(sibling, now)
      for (; fn % 2 === 0 && fn > 0; fn /= 2) sn = half(sn)
    } else now = nodeHash(now, sibling)
    fn = half(fn)
    sn = half(sn)
  }
  return sn === 0 && old.equals(oldRoot) && now.equals(newRoot)
}
