import {
  CompactTree,
  consistencyRanges,
  emptyRoot,
  inclusionRanges,
  type LeafRange,
  merkleRoot,
  nodeHash,
} from '#crypto'
import type { Sql } from '#storage'
import { NodeReader, tileHeight, tileWidth } from './node-reader.ts'

/** Proof that leaf `index` is in the tree of the first `size` leaves. Rejects with RangeError when the log has fewer. */
export function readInclusion(sql: Sql, index: number, size: number): Promise<Buffer[]> {
  return rootsOf(new NodeReader(sql, size), inclusionRanges(index, size))
}

/** Proof that the tree of `to` leaves begins with the one of `from`. Rejects with RangeError when the log has fewer. */
export async function readConsistency(sql: Sql, from: number, to: number): Promise<Buffer[]> {
  return from === 0 ? [] : rootsOf(new NodeReader(sql, to), consistencyRanges(from, to))
}

/** Root of the first `size` leaves. */
export async function readRoot(sql: Sql, size: number): Promise<Buffer> {
  return size === 0 ? emptyRoot : rootOf(new NodeReader(sql, size), { start: 0, end: size })
}

/** The tree of the first `size` leaves, ready to grow. */
export async function readTree(sql: Sql, size: number): Promise<CompactTree> {
  return new CompactTree(size, await partsOf(new NodeReader(sql, size), { start: 0, end: size }))
}

const rootsOf = (nodes: NodeReader, ranges: readonly LeafRange[]): Promise<Buffer[]> =>
  Promise.all(ranges.map((range) => rootOf(nodes, range)))

async function rootOf(nodes: NodeReader, range: LeafRange): Promise<Buffer> {
  return (await partsOf(nodes, range)).reduceRight((right, left) => nodeHash(left, right))
}

/**
 * Roots of the perfect subtrees a range consists of, largest first. `start` is a multiple of each of their sizes, as it is
 * in a proof.
 */
function partsOf(nodes: NodeReader, { start, end }: LeafRange): Promise<Buffer[]> {
  const parts: Promise<Buffer>[] = []
  for (let at = start; at < end; ) {
    let length = 1
    while (length * 2 <= end - at) length *= 2
    parts.push(perfectRoot(nodes, at, length))
    at += length
  }
  return Promise.all(parts)
}

/** Root of a perfect subtree: of some nodes in one tile, on the highest level that has any. */
async function perfectRoot(nodes: NodeReader, start: number, length: number): Promise<Buffer> {
  const level = Math.floor(Math.log2(length) / tileHeight)
  const span = tileWidth ** level
  return merkleRoot(await nodes.read(level, start / span, length / span))
}
