import { mkdir, readFile, rename } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { type DhKey, dhKeyFromSeed, type Identity, identityFromSeed, sha256 } from '#crypto'
import { openSuccession, PoolError, type PoolId, parseJson, parsePoolId, successorsOf } from '#protocol'
import type { Runtime } from '#runtime'
import { readOrCreateKeyFile, replacePrivateFile } from '#storage'

/** Which pool a worker belongs to. Its one-time token is not part of it: it is of no use after the first welcome. */
export interface Membership {
  readonly url: string
  readonly poolId: PoolId
  /** The worker's own id, for the operator who reads the file. */
  readonly worker: string
}

const fileName = 'membership.json'
const fileBytesMax = 16_384

const membershipSchema = z.object({
  url: z.string().max(2_000),
  poolId: z.string().refine((text): text is PoolId => parsePoolId(text) !== undefined),
  worker: z.string(),
})

/** The worker's keys in its data directory, made on first use: `worker.key` (who it is), `session.key` (Noise). */
export async function loadWorkerKeys(
  dataDir: string,
  runtime: Runtime,
): Promise<{ identity: Identity; staticKey: DhKey }> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const identity = identityFromSeed(await readOrCreateKeyFile(path.join(dataDir, 'worker.key'), 32, runtime))
  const staticKey = dhKeyFromSeed(await readOrCreateKeyFile(path.join(dataDir, 'session.key'), 32, runtime))
  return { identity, staticKey }
}

/**
 * Follows a pool to another key: its own key, which this worker has pinned, has named that, and the person here has named it, too. An
 * address alone, or a statement alone, changes nothing. @throws PoolError config_invalid, wrong_pool.
 */
export async function followPool(
  dataDir: string,
  successor: PoolId,
  notesAt: (url: string) => Promise<readonly string[]>,
  runtime: Runtime,
): Promise<void> {
  const membership = await loadMembership(dataDir)
  if (!membership)
    throw new PoolError(
      'config_invalid',
      'This worker has not joined a pool.',
      'Join with an invite: lichen worker join INVITE',
    )
  if (membership.poolId === successor) return
  const ids = idsAfter(membership.poolId, await notesAt(membership.url))
  if (!ids.includes(successor))
    throw new PoolError(
      'wrong_pool',
      `Nothing at ${membership.url} says that the key of pool ${membership.poolId.slice(0, 12)}… is followed by ${successor.slice(0, 12)}….`,
      'Compare the id with what the pool’s operator told you, or ask for a new invite.',
    )
  await saveMembership(dataDir, { ...membership, poolId: successor }, runtime)
}

/** Ids of the keys that follow a pool's, as far as its own statements lead. */
function idsAfter(poolId: string, notes: readonly string[]): string[] {
  const opened = notes.map(openSuccession).flatMap((one) => (one.ok ? [one.succession] : []))
  const first = opened.find(({ from }) => sha256(from).toString('hex') === poolId)
  return first ? [first.to, ...successorsOf(first.to, notes)].map((key) => sha256(key).toString('hex')) : []
}

const ownFiles = ['worker.key', 'session.key', fileName] as const

/**
 * Puts keys and membership aside, so that the next start makes new ones. What was put aside stays, to claim what it earned. Says whether
 * there was anything.
 */
export async function retireWorkerKeys(dataDir: string, runtime: Runtime): Promise<boolean> {
  let found = false
  const suffix = `retired-${new Date(runtime.now()).toISOString().replace(/[:.]/g, '-')}`
  for (const name of ownFiles) {
    try {
      await rename(path.join(dataDir, name), path.join(dataDir, `${name}.${suffix}`))
      found = true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return found
}

/** The pool this data directory has joined, or `undefined`. Throws config_invalid on a file that was damaged. */
export async function loadMembership(dataDir: string): Promise<Membership | undefined> {
  const file = path.join(dataDir, fileName)
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!bytes) return undefined
  const json = parseJson(bytes, { bodyBytesMax: fileBytesMax, jsonDepthMax: 4 })
  const parsed = json.ok ? membershipSchema.safeParse(json.value) : undefined
  if (parsed?.success) return parsed.data
  throw new PoolError('config_invalid', `${file} is damaged.`, 'Remove it and join again with a new invite.')
}

/** Written whole or not at all, mode 0600. */
export function saveMembership(dataDir: string, membership: Membership, runtime: Runtime): Promise<void> {
  return replacePrivateFile(path.join(dataDir, fileName), `${JSON.stringify(membership, null, 2)}\n`, runtime)
}
