import type { Sql } from '#storage'
import { epochKeyLabel } from './epochs.ts'
import { unseal } from './sealing.ts'

/** The newest hour that is not told, when its key does not open under `key`: the pool was sealed under another one. */
export async function sealedElsewhere(sql: Sql, key: Buffer): Promise<number | null> {
  const [row] = await sql<{ epoch: bigint; sealed: Buffer }[]>`
    select epoch, sealed from epochs where sealed is not null order by epoch desc limit 1`
  if (!row) return null
  const epoch = Number(row.epoch)
  return unseal(key, epochKeyLabel(epoch), row.sealed) ? null : epoch
}
