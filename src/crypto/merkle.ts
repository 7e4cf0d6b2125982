import { sha256 } from './sha256.ts'
import { type Sha256Engine, sha256Engine, takeRoom } from './sha256-engine.ts'

/**
 * The history tree of RFC 9162 §2.1: roots, proofs and their verification. Sizes and indices are safe integers
 * (≤ 2^53-1), hashes 32 bytes. Verification never throws on what came from outside: what does not fit is false.
 */

/** Root of the tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Buffer = Buffer.from('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'hex')

const leafTag = Buffer.of(0)
const hashBytes = 32
const hashWords = hashBytes / 4

/** Hash of a leaf. Its tag differs from a node's, so neither can pass for the other. */
export function leafHash(data: Buffer): Buffer {
  return sha256(leafTag, data)
}

/** Where a node lies in the engine's memory: its tag, then its children. A digest is written where it is a child next. */
const node = takeRoom() + 3
/** Divisible by four: hashes are copied word by word. */
const [left, right] = [node + 1, node + 1 + hashBytes]
const [leftWord, rightWord] = [left / 4, right / 4]
const nodeBytes = 1 + 2 * hashBytes

/** Hash of an inner node. Throws when a child does not have 32 bytes. */
export function nodeHash(first: Buffer, second: Buffer): Buffer {
  if (first.length !== hashBytes || second.length !== hashBytes) throw new TypeError('a tree hash has 32 bytes')
  const engine = sha256Engine()
  engine.bytes.set(first, left)
  engine.bytes.set(second, right)
  engine.bytes[node] = 1
  engine.digest(node, nodeBytes, right)
  return Buffer.from(engine.bytes.subarray(right, right + hashBytes))
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
  /** The hashes, as they lie in the engine's memory. */
  #edge: Int32Array
  /** Words of the edge in use. */
  #used: number

  /** Throws when `frontier` does not hold one hash for each bit of `size`. */
  constructor(size = 0, frontier: readonly Buffer[] = []) {
    if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`a tree size is a safe integer, not ${size}`)
    if (frontier.length !== bitsOf(size))
      throw new RangeError(`${frontier.length} hashes do not edge a tree of ${size}`)
    for (const hash of frontier) refuseOtherThanHash(hash)
    this.#size = size
    this.#used = frontier.length * hashWords
    this.#edge = new Int32Array(Math.max(edgeWords, this.#used))
    const edge = Buffer.from(this.#edge.buffer)
    frontier.forEach((hash, n) => {
      edge.set(hash, n * hashBytes)
    })
  }

  get size(): number {
    return this.#size
  }

  get frontier(): Buffer[] {
    const edge = Buffer.from(this.#edge.buffer)
    return Array.from({ length: this.#used / hashWords }, (_, n) =>
      Buffer.from(edge.subarray(n * hashBytes, (n + 1) * hashBytes)),
    )
  }

  /** Adds a leaf hash. Throws when it does not have 32 bytes. */
  append(leaf: Buffer): void {
    refuseOtherThanHash(leaf)
    sha256Engine().bytes.set(leaf, right)
    this.#append()
  }

  root(): Buffer {
    if (this.#size === 0) return emptyRoot
    const engine = sha256Engine()
    let end = this.#used - hashWords
    for (let n = 0; n < hashWords; n++) engine.words[rightWord + n] = this.#edge[end + n] as number
    for (; end > 0; end -= hashWords) this.#join(engine, end)
    return Buffer.from(engine.bytes.subarray(right, right + hashBytes))
  }

  clone(): CompactTree {
    return new CompactTree(this.#size, this.frontier)
  }

  /** What lies to the right is the next leaf. */
  #append(): void {
    const engine = sha256Engine()
    for (let n = this.#size; n % 2 === 1; n = (n - 1) / 2) {
      this.#join(engine, this.#used)
      this.#used -= hashWords
    }
    if (this.#used === this.#edge.length) {
      const longer = new Int32Array(2 * this.#used)
      longer.set(this.#edge)
      this.#edge = longer
    }
    for (let n = 0; n < hashWords; n++) this.#edge[this.#used + n] = engine.words[rightWord + n] as number
    this.#used += hashWords
    this.#size += 1
  }

  /** The subtree whose root ends at `end` of the edge, and the one to the right: their node is the one to the right. */
  #join(engine: Sha256Engine, end: number): void {
    engine.bytes[node] = 1
    for (let n = 0; n < hashWords; n++) engine.words[leftWord + n] = this.#edge[end - hashWords + n] as number
    engine.digest(node, nodeBytes, right)
  }
}

/** Edge of a tree of up to 255 leaves; a greater one grows. */
const edgeWords = 8 * hashWords

function refuseOtherThanHash(hash: Buffer): void {
  if (hash.length !== hashBytes) throw new TypeError('a tree hash has 32 bytes')
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
