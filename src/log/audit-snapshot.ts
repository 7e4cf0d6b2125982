import type { Sql } from '#storage'
import { auditLog, type LogProblem } from './audit-log.ts'
import { type KnownCheckpoint, readOutsideCopy } from './outside-copy.ts'
import type { PoolKeys } from './pool-keys.ts'
import { readTree } from './read-tree.ts'

/** One state of a log, and what is known about it from outside. */
export interface LogSnapshot {
  /** Of one state of the database: a transaction that is `repeatable read`. */
  readonly sql: Sql
  /** The pool's. */
  readonly keys: PoolKeys
  /** Read before the state was taken, so that it is never ahead of it; undefined when there is none, or it is not to be compared. */
  readonly copy: KnownCheckpoint | undefined
}

/** The first `size` leaves of a log, by their root. */
export interface LogPosition {
  readonly size: number
  readonly root: Buffer
}

/** The copy of the last checkpoint in a data directory; undefined when there is none. @throws PoolError log_mismatch. */
export function outsideCheckpoint(dataDir: string, publicKey: Buffer): Promise<KnownCheckpoint | undefined> {
  return readOutsideCopy(dataDir, publicKey)
}

/** Everything that is wrong with the log from leaf `from` on. Nobody needs to write meanwhile; whoever does is not heard. */
export async function* auditSnapshot(snapshot: LogSnapshot, from: number, now: number): AsyncGenerator<LogProblem> {
  yield* auditLog({ ...snapshot, from, now })
  const [stray] = await snapshot.sql<{ name: string }[]>`
    select t.level || '/' || t.index as name from log_tiles t cross join log_head h
     where (t.index + 1) * 256::numeric ^ (t.level + 1) > h.size limit 1`
  if (stray) {
    const sentence = `Tile ${stray.name} is of leaves that are not there; the tiles may be emptied.`
    yield { table: 'log_tiles', row: stray.name, sentence }
  }
}

/** Where the log ends by its head, which an audit has yet to believe; undefined when there is none. */
export async function headOf(sql: Sql): Promise<{ readonly size: number; readonly checkpoints: number } | undefined> {
  const [row] = await sql<{ size: bigint; checkpoints: bigint }[]>`select size, checkpoints from log_head`
  return row && { size: Number(row.size), checkpoints: Number(row.checkpoints) }
}

/** Root of the first `size` leaves, as far as the stored tiles tell; undefined when there are fewer. */
export async function readRootAt(sql: Sql, size: number): Promise<Buffer | undefined> {
  const tree = await readTree(sql, size).catch((error: unknown) => {
    if (error instanceof RangeError) return undefined
    throw error
  })
  return tree?.root()
}

/** The time of the newest act that has its leaf: acts that are much older must have one, too. 0 when there is none. */
export async function newestLoggedAct(sql: Sql): Promise<number> {
  const [row] = await sql<{ at: number | null }[]>`
    select max(a.at) as at from acts a where exists (select from log_leaves l where l.kind = 'act' and l.ref = a.seq::text)`
  return row?.at ?? 0
}
