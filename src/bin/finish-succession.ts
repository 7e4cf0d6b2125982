import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { identityFromSeed } from '#crypto'
import { copyAfterSuccession } from '#log'
import { type Database, readKeyFile, syncFolder } from '#storage'

/** The next key of a pool, from when it is made until the database says that it counts. */
export const nextKeyFile = 'pool.key.next'

/**
 * Brings a change of the pool's key to its end, wherever it was cut off: the database decides which key counts, and `pool.key` follows.
 *
 *   pool.key.next written ──▶ database: the new key, in one transaction ──▶ copy of the checkpoint ──▶ pool.key.next becomes pool.key
 *        cut off: forgotten                                cut off: gone on with, by whoever comes next
 */
export async function finishSuccession(
  data: string,
  { sql }: Pick<Database, 'sql'>,
  onStep: (step: string) => void = () => {},
): Promise<void> {
  const file = path.join(data, nextKeyFile)
  const seed = await readKeyFile(file, 32)
  if (!seed) return
  const next = identityFromSeed(seed)
  const [row] = await sql<{ value: string }[]>`select value from meta where key = 'pool_id'`
  if (row?.value !== next.id) return void (await rm(file, { force: true }))
  const old = await readKeyFile(path.join(data, 'pool.key'), 32)
  if (old) {
    const keys = { old: identityFromSeed(old).publicKey, next: next.publicKey }
    await copyAfterSuccession(sql, data, keys)
  }
  onStep('rename')
  await rename(file, path.join(data, 'pool.key'))
  await syncFolder(data)
}
