import { type Database, fromDatabase } from '#storage'

/**
 * Does the work while nobody else, in any process of the pool, decides or carries out anything about the worker in this way: what was
 * decided against it is either done before it begins anew, or not done. Take it outside of transactions: a process makes one of
 * them at a time, and the work makes its own. @throws PoolError database_unavailable, also when it took too long to get its turn, and
 * when the lock was lost during the work: look again what stands.
 */
export async function aloneWith<T>(database: Database, workerId: string, work: () => Promise<T>): Promise<T> {
  const connection = await fromDatabase(database.connect())
  try {
    // Two keys: apart from the locks with one, which are for whole tasks.
    await fromDatabase(connection.tx`select pg_advisory_lock(hashtext('standing'), hashtext(${workerId}))`)
    const done = await work()
    // fails where the lock was lost with its connection: then nobody knows who else was at work
    const unlock = async () => connection.tx`select pg_advisory_unlock(hashtext('standing'), hashtext(${workerId}))`
    await fromDatabase(unlock())
    return done
  } finally {
    await connection.close()
  }
}
