import type { Sql } from '#storage'
import type { LeafKind } from './leaf.ts'
import { logLimits } from './limits.ts'

/** A leaf as it is kept. */
export interface LoggedLeaf {
  readonly index: number
  readonly kind: LeafKind
  readonly ref: string
  /** Leaf hash, 32 bytes. */
  readonly hash: Buffer
}

/** The leaves from `from` on in their order, page by page: for those who compare them with what they are about. */
export async function* readLeaves(sql: Sql, from: number): AsyncGenerator<readonly LoggedLeaf[]> {
  for (let next = from; ; ) {
    const rows = await sql<(Omit<LoggedLeaf, 'index'> & { index: bigint })[]>`
      select index, kind, ref, hash from log_leaves where index >= ${next} order by index limit ${logLimits.leavesPerPage}`
    const last = rows.at(-1)
    if (!last) return
    yield rows.map((row) => ({ ...row, index: Number(row.index) }))
    next = Number(last.index) + 1
  }
}
