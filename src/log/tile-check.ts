import { merkleRoot } from '#crypto'
import type { Sql } from '#storage'
import type { LogProblem } from './audit-log.ts'
import { tileWidth } from './node-reader.ts'

interface Row {
  /** Nodes of the tile that is being filled; undefined while its beginning was not seen. */
  nodes: Buffer[] | undefined
  /** How many nodes the level has. */
  count: number
}

/** Fills the tiles again, node by node, and compares each full one with the stored one. */
export class TileCheck {
  readonly #sql: Sql
  readonly #levels: Row[] = []
  readonly #from: number

  /** `from`: leaves that are not shown. */
  constructor(sql: Sql, from: number) {
    this.#sql = sql
    this.#from = from
  }

  /** The next leaf. */
  async add(leaf: Buffer): Promise<LogProblem[]> {
    const problems: LogProblem[] = []
    let node: Buffer | undefined = leaf
    for (let level = 0; ; level++) {
      const row = this.#levelAt(level)
      if (row.count++ % tileWidth === 0) row.nodes = []
      if (node) row.nodes?.push(node)
      else row.nodes = undefined
      if (row.count % tileWidth !== 0) return problems
      if (row.nodes) problems.push(...(await this.#compare(level, row.count / tileWidth - 1, row.nodes)))
      node = row.nodes && merkleRoot(row.nodes)
    }
  }

  #levelAt(level: number): Row {
    this.#levels[level] ??= { nodes: undefined, count: Math.floor(this.#from / tileWidth ** level) }
    return this.#levels[level]
  }

  async #compare(level: number, index: number, nodes: readonly Buffer[]): Promise<LogProblem[]> {
    const [stored] = await this.#sql<{ root: Buffer; nodes: Buffer }[]>`
      select root, nodes from log_tiles where level = ${level} and index = ${index}`
    if (!stored || (stored.root.equals(merkleRoot(nodes)) && stored.nodes.equals(Buffer.concat(nodes)))) return []
    const row = `${level}/${index}`
    return [{ table: 'log_tiles', row, sentence: `Tile ${row} does not fit the leaves; the tiles may be emptied.` }]
  }
}
