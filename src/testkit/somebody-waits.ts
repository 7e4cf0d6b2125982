import type { Sql } from '#storage'
import { eventually } from './neighbourhood.ts'

/** Until somebody waits for a lock that another process of the pool holds (`pg_advisory_lock`). */
export const somebodyWaits = (sql: Sql) =>
  eventually('somebody to wait for a lock', async () => {
    const rows = await sql`
      select from pg_locks where locktype = 'advisory' and not granted
         and database = (select oid from pg_database where datname = current_database())`
    return rows.length > 0
  })
