import { merkleRoot } from '#crypto'
import type { Sql } from '#storage'
import { logLimits } from './limits.ts'
import { NodeReader, tileWidth } from './node-reader.ts'

/**
 * Stores full tiles that are not stored yet, lowest level first, {@link logLimits.tilesPerRoundMax} at most. Returns
 * how many. Two processes that do it at once store the same.
 */
export async function storeTiles(sql: Sql, size: number): Promise<number> {
  let stored = 0
  for (let level = 0; tileWidth ** (level + 1) <= size; level++) {
    const full = Math.floor(size / tileWidth ** (level + 1))
    for (let index = await firstMissing(sql, level); index < full; index++) {
      if (stored >= logLimits.tilesPerRoundMax) return stored
      await storeTile(sql, level, index, size)
      stored++
    }
  }
  return stored
}

async function firstMissing(sql: Sql, level: number): Promise<number> {
  const [row] = await sql<{ next: bigint }[]>`
    select coalesce(max(index) + 1, 0)::bigint as next from log_tiles where level = ${level}`
  return Number(row?.next)
}

async function storeTile(sql: Sql, level: number, index: number, size: number): Promise<void> {
  const nodes = await new NodeReader(sql, size).read(level, index * tileWidth, tileWidth)
  await sql`
    insert into log_tiles (level, index, root, nodes)
    values (${level}, ${index}, ${merkleRoot(nodes)}, ${Buffer.concat(nodes)}) on conflict do nothing`
}
