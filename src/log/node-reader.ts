import { merkleRoot } from '#crypto'
import type { Sql } from '#storage'

/** Nodes of a tile, and levels of the tree it spans (C2SP tlog-tiles). */
export const tileWidth = 256
export const tileHeight = 8
const hashBytes = 32

/**
 * Nodes of the tree of the first `size` leaves, by tiles: level 0 are the leaves, a node of level n is the root of a full
 * tile of level n - 1. Reads each tile once: one stored row, or a row for each node of a tile that is not full.
 */
export class NodeReader {
  readonly #sql: Sql
  readonly #size: number
  readonly #tiles = new Map<string, Promise<Buffer[]>>()

  constructor(sql: Sql, size: number) {
    this.#sql = sql
    this.#size = size
  }

  /** `count` nodes of a level from `start` on, all in one tile. Rejects with RangeError when the log does not have them. */
  async read(level: number, start: number, count: number): Promise<Buffer[]> {
    const index = Math.floor(start / tileWidth)
    const nodes = await this.tile(level, index)
    const at = start - index * tileWidth
    if (nodes.length < at + count) throw new RangeError(`level ${level} does not have ${count} nodes from ${start} on`)
    return nodes.slice(at, at + count)
  }

  /** All nodes of a tile; fewer than {@link tileWidth} at the right edge. */
  tile(level: number, index: number): Promise<Buffer[]> {
    const name = `${level}/${index}`
    const tile = this.#tiles.get(name) ?? this.#load(level, index)
    this.#tiles.set(name, tile)
    return tile
  }

  async #load(level: number, index: number): Promise<Buffer[]> {
    const [stored] = await this.#sql<{ nodes: Buffer }[]>`
      select nodes from log_tiles where level = ${level} and index = ${index}`
    const start = index * tileWidth
    const end = Math.min(start + tileWidth, Math.floor(this.#size / tileWidth ** level))
    if (stored) return nodesOf(stored.nodes).slice(0, Math.max(0, end - start))
    if (level > 0) return this.#rootsBelow(level - 1, start, end)
    // one value: a row costs more than its hash
    const [row] = await this.#sql<{ nodes: Buffer | null }[]>`
      select string_agg(hash, ''::bytea order by index) as nodes from log_leaves
       where index >= ${start} and index < ${end}`
    return nodesOf(row?.nodes ?? Buffer.alloc(0))
  }

  /** Roots of full tiles; those that are not stored yet are computed. */
  async #rootsBelow(level: number, start: number, end: number): Promise<Buffer[]> {
    const [row] = await this.#sql<{ there: bigint[] | null; roots: Buffer | null }[]>`
      select array_agg(index order by index) as there, string_agg(root, ''::bytea order by index) as roots
        from log_tiles where level = ${level} and index >= ${start} and index < ${end}`
    const stored = nodesOf(row?.roots ?? Buffer.alloc(0))
    if (stored.length === end - start) return stored
    const roots = new Map(row?.there?.map((index, n) => [Number(index), stored[n]]))
    const nodes: Buffer[] = []
    for (let index = start; index < end; index++) {
      nodes.push(roots.get(index) ?? merkleRoot(await this.read(level, index * tileWidth, tileWidth)))
    }
    return nodes
  }
}

export function nodesOf(bytes: Buffer): Buffer[] {
  return Array.from({ length: bytes.length / hashBytes }, (_, n) => bytes.subarray(n * hashBytes, (n + 1) * hashBytes))
}
