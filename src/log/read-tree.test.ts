import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CompactTree, merkleRoot, verifyConsistency, verifyInclusion } from '#crypto'
import type { Sql } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { LoggingProcess } from '../testkit/logging-process.ts'
import { readConsistency, readInclusion, readRoot, readTree } from './read-tree.ts'
import { storeTiles } from './store-tiles.ts'

let db: TestDatabase
let process: LoggingProcess
const size = 70_000
let leaves: Buffer[]
/** By size; only for the sizes asked below. */
const roots = new Map<number, Buffer>()
const sizes = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 69_999, 70_000]

beforeAll(async () => {
  db = await testDatabase()
  await db.sql`
    insert into log_leaves (index, kind, ref, hash)
    select n, 'transfer', n::text, sha256(convert_to('leaf ' || n, 'UTF8')) from generate_series(0, ${size - 1}) n`
  leaves = (await db.sql<{ hash: Buffer }[]>`select hash from log_leaves order by index`).map((row) => row.hash)
  const tree = new CompactTree()
  for (const leaf of leaves) {
    tree.append(leaf)
    if (sizes.includes(tree.size)) roots.set(tree.size, tree.root())
  }
  process = await LoggingProcess.start(db)
})
afterAll(async () => {
  await process[Symbol.asyncDispose]()
  await db.drop()
})

/** Counts what a look-up costs. */
function counting(): { sql: Sql; queries: () => number; rows: () => number } {
  let queries = 0
  let rows = 0
  const sql = new Proxy(db.sql, {
    apply: (target, self, args) => {
      queries++
      const query = Reflect.apply(target, self, args)
      void query.then((found: unknown[]) => {
        rows += found.length
      })
      return query
    },
  })
  return { sql, queries: () => queries, rows: () => rows }
}

const rootAt = (n: number) => roots.get(n) as Buffer

async function everyProofHolds(): Promise<void> {
  for (const n of sizes) {
    expect(await readRoot(db.sql, n)).toEqual(rootAt(n))
    for (const index of [0, 1, 254, 255, 256, 512, 65_535, 65_536, n - 1].filter((i) => i < n)) {
      const path = await readInclusion(db.sql, index, n)
      const leaf = leaves[index] as Buffer
      expect(verifyInclusion({ leaf, index, size: n, path, root: rootAt(n) }), `${index} of ${n}`).toBe(true)
    }
    for (const old of sizes.filter((one) => one <= n)) {
      const path = await readConsistency(db.sql, old, n)
      const proof = { oldSize: old, oldRoot: rootAt(old), newSize: n, newRoot: rootAt(n), path }
      expect(verifyConsistency(proof), `${old} to ${n}`).toBe(true)
    }
  }
}

test('the leaves alone prove every leaf in every size, and every growth', async () => {
  const small = sizes.filter((n) => n <= 513)
  for (const n of small) {
    expect(await readRoot(db.sql, n)).toEqual(merkleRoot(leaves.slice(0, n)))
    const path = await readInclusion(db.sql, 0, n)
    expect(verifyInclusion({ leaf: leaves[0] as Buffer, index: 0, size: n, path, root: rootAt(n) })).toBe(true)
  }
})

describe('with stored tiles', () => {
  beforeAll(async () => {
    while ((await storeTiles(db.sql, size)) > 0);
  })

  test('all full ones are there, on both levels', async () => {
    const levels = await db.sql`select level, count(*)::int as n from log_tiles group by level order by level`
    expect(levels).toEqual([
      { level: 0, n: 273 },
      { level: 1, n: 1 },
    ])
    expect(await storeTiles(db.sql, size)).toBe(0)
  })

  test('they prove every leaf in every size, and every growth', everyProofHolds)

  test('a tree goes on from its stored part', async () => {
    const tree = await readTree(db.sql, 65_537)
    for (const leaf of leaves.slice(65_537)) tree.append(leaf)
    expect(tree.root()).toEqual(rootAt(size))
  })

  test('a proof in 70,000 leaves reads a handful of tiles and fewer rows than two of them hold', async () => {
    const { sql, queries, rows } = counting()
    await readInclusion(sql, 12_345, size)
    expect(queries()).toBeLessThanOrEqual(10)
    expect(rows()).toBeLessThan(512)
  })

  test('a tile that was lost is computed again', async () => {
    await db.sql`delete from log_tiles where level = 0 and index in (3, 200)`
    await db.sql`delete from log_tiles where level = 1`
    await everyProofHolds()
  })
})
