import { PoolError } from '#protocol'
import type { Sql } from '#storage'
import { type KnownCheckpoint, readCheckpoint } from './outside-copy.ts'

/**
 * The newest checkpoint in the database.
 * @throws PoolError log_mismatch when it is not by this pool, or there is none.
 */
export async function latestCheckpoint(sql: Sql, publicKey: Buffer): Promise<KnownCheckpoint> {
  const [row] = await sql<{ note: string }[]>`select note from log_checkpoints order by number desc limit 1`
  const checkpoint = row && readCheckpoint(row.note, publicKey)
  if (checkpoint) return checkpoint
  throw new PoolError(
    'log_mismatch',
    "The newest checkpoint in the database was not signed by this pool's key.",
    'Run `lichen audit` to see what was changed, and restore the database from a backup.',
  )
}
