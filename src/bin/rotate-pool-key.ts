import path from 'node:path'
import type { Settings } from '#config'
import { generateIdentity, type Identity } from '#crypto'
import { acceptAgain } from '#federation'
import { succeed, TransparencyLog } from '#log'
import { PoolError, type PoolId, parsePoolId } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { type Database, readKeyFile } from '#storage'
import { sealingKey } from '#verification'
import { adminKeyFile, loadAdminKey } from './admin-key-file.ts'
import { finishSuccession, nextKeyFile } from './finish-succession.ts'
import { openForCommand, poolKeyOf, refuseMissingFolder, refuseOtherSchema } from './pool-database.ts'
import { writeKeyFile } from './replace-key-file.ts'
import { finishStorageKey } from './rotate-storage-key.ts'

interface RotatedPool {
  readonly ok: true
  readonly old_id: string
  readonly pool_id: string
  /** What the old key has signed about the new one: for whoever knew the old one. */
  readonly succession: string
}

interface Wish {
  /** Name or file of an admin key that signs as well. */
  readonly signedBy: string | undefined
  /** Told before each step; a test ends the program there. */
  readonly onStep?: (step: string) => void
}

/**
 * `lichen rotate pool`: another key in the place of the pool's, named by it. The old one is not kept.
 * @throws PoolError data_in_use, conflict, not_found, config_invalid, log_behind, log_mismatch.
 */
export async function rotatePoolKey(settings: Settings, { signedBy, onStep = () => {} }: Wish): Promise<RotatedPool> {
  const { data } = settings
  await refuseMissingFolder(data)
  await using opened = await openForCommand(settings, { alone: true })
  const { database } = opened
  await refuseOtherSchema(database)
  await finishSuccession(data, database)
  await finishStorageKey(data, database)
  const old = await poolKeyOf(data)
  await refuseUnready(database, old)
  await refuseBrokenLog(database, data, old)
  const admin = signedBy === undefined ? undefined : await adminOf(database, signedBy)
  onStep('sealing key')
  const sealing = path.join(data, 'sealing.key')
  // it stays what it was at first: what lies sealed in the database must be opened later
  if (!(await readKeyFile(sealing, 32))) await writeKeyFile(sealing, sealingKey(old.seed))
  onStep('next key')
  const next = generateIdentity(runtime)
  await writeKeyFile(path.join(data, nextKeyFile), next.seed)
  onStep('database')
  const succession = await database.transaction(async (tx) => {
    const note = await succeed(tx, { old, next, admin, now: runtime.now(), actor: 'owner.key' })
    await acceptAgain(tx, { giver: next.id as PoolId, admin, now: runtime.now() })
    await tx`update meta set value = ${next.id} where key = 'pool_id'`
    return note
  })
  onStep('key file')
  await finishSuccession(data, database, onStep)
  onStep('done')
  return { ok: true, old_id: old.id, pool_id: next.id, succession }
}

/** @throws PoolError config_invalid, conflict. */
async function refuseUnready({ sql }: Database, { id }: Identity): Promise<void> {
  const [row] = await sql<{ pool: string | null; jobs: bigint }[]>`
    select (select value from meta where key = 'pool_id') as pool,
           (select count(*) from jobs where ended_at is null) + (select count(*) from holds) as jobs`
  if (row?.pool !== id)
    throw new PoolError(
      'config_invalid',
      `The database belongs to pool ${row?.pool?.slice(0, 12) ?? 'nobody'}…, and pool.key is that of ${id.slice(0, 12)}….`,
      'Put the pool’s own pool.key back into the data folder.',
    )
  if (row.jobs > 0n)
    throw new PoolError(
      'conflict',
      `${row.jobs} requests that were cut off are not settled under the old key yet.`,
      'Start the pool, wait until `lichen ledger holds` shows none, and stop it.',
    )
}

/** Opened and closed, which compares it with the copy outside. */
async function refuseBrokenLog(database: Database, dataDir: string, signer: Identity): Promise<void> {
  const poolId = parsePoolId(signer.id)
  if (!poolId) throw new Error('an identity whose id is no sha256')
  const log = await TransparencyLog.open({ database, runtime, poolId, signer, dataDir })
  await log[Symbol.asyncDispose]()
}

async function adminOf({ sql }: Database, name: string): Promise<Identity> {
  const admin = await loadAdminKey(name.includes('/') ? name : adminKeyFile(name))
  const [good] = await sql`select 1 from admin_keys where id = ${admin.id} and revoked_at is null`
  if (good) return admin
  throw new PoolError('not_found', 'The pool does not know this admin key.', 'Use one of `lichen admin-key ls`.')
}
