import { PoolError, type PoolId } from '#protocol'
import { type Database, fromDatabase } from '#storage'

/**
 * Ties a database to a pool's key at first, and refuses another key afterwards: workers and receipts in it name the
 * pool that made them.
 * @throws PoolError config_invalid, database_unavailable.
 */
export async function claimDatabase({ sql }: Pick<Database, 'sql'>, poolId: PoolId): Promise<void> {
  await fromDatabase(sql`insert into meta (key, value) values ('pool_id', ${poolId}) on conflict do nothing`)
  const [row] = await fromDatabase(sql<{ value: string }[]>`select value from meta where key = 'pool_id'`)
  if (row?.value === poolId) return
  throw new PoolError(
    'config_invalid',
    `The database belongs to pool ${row?.value.slice(0, 12)}…, and pool.key is that of pool ${poolId.slice(0, 12)}….`,
    'Put the pool’s own pool.key back into the data directory, or use another database.',
  )
}
