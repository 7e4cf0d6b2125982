import { timingSafeEqual } from 'node:crypto'
import path from 'node:path'
import { type DhKey, dhKeyFromSeed, type Identity, identityFromSeed, sha256 } from '#crypto'
import { type PoolId, parsePoolId } from '#protocol'
import type { Runtime } from '#runtime'
import { privateFolder, readKeyFile, readOrCreateKeyFile } from '#storage'

/** Who this pool is, and who owns it. */
export interface PoolIdentity {
  readonly poolId: PoolId
  /** Signs as the pool. */
  readonly identity: Identity
  /** For Noise sessions. */
  readonly staticKey: DhKey
  /** What is sealed in the database is sealed under it, once the pool has had another key; undefined before. */
  readonly sealing: Buffer | undefined
  /** Whether this text is the content of `owner.key`, as it is sent (`Authorization: Bearer …`); takes the same time for every text of a length. */
  isOwner(bearer: string): boolean
}

const files = { pool: 'pool.key', session: 'session.key', owner: 'owner.key', sealing: 'sealing.key' } as const

/**
 * Reads `pool.key`, `session.key` and `owner.key` of the data directory (0600 in 0700), making them at first.
 * @throws PoolError key_file_unsafe when others may read them.
 */
export async function loadPoolIdentity(dataDir: string, runtime: Runtime): Promise<PoolIdentity> {
  await privateFolder(dataDir)
  const load = (name: string) => readOrCreateKeyFile(path.join(dataDir, name), 32, runtime)
  const identity = identityFromSeed(await load(files.pool))
  const staticKey = dhKeyFromSeed(await load(files.session))
  const owner = sha256(Buffer.from((await load(files.owner)).toString('base64url')))
  const poolId = parsePoolId(identity.id)
  if (!poolId) throw new Error('an identity whose id is no sha256')
  const sealing = await readKeyFile(path.join(dataDir, files.sealing), 32)
  return {
    poolId,
    identity,
    staticKey,
    sealing,
    isOwner: (bearer) => timingSafeEqual(sha256(Buffer.from(bearer)), owner),
  }
}
