import { readFile, rename } from 'node:fs/promises'
import path from 'node:path'
import { type Checkpoint, openCheckpoint, PoolError } from '#protocol'
import { syncFolder, writeSynced } from '#storage'

/** A checkpoint of the pool's own log: its text and what it says. */
export interface KnownCheckpoint extends Checkpoint {
  readonly generation: number
  readonly note: string
}

/** Opens a checkpoint that must be this pool's; undefined when it is not. */
export function readCheckpoint(note: string, publicKey: Buffer): KnownCheckpoint | undefined {
  const opened = openCheckpoint(note, publicKey)
  return opened.ok ? { ...opened.checkpoint, note } : undefined
}

export const newerThan = (a: KnownCheckpoint, b: KnownCheckpoint): boolean =>
  a.generation > b.generation || (a.generation === b.generation && a.size > b.size)

const fileOf = (dataDir: string) => path.join(dataDir, 'checkpoint')

/**
 * The last checkpoint that was written down outside the database; undefined when none was yet.
 * @throws PoolError log_mismatch when the file holds something else.
 */
export async function readOutsideCopy(dataDir: string, publicKey: Buffer): Promise<KnownCheckpoint | undefined> {
  const note = await readFile(fileOf(dataDir), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (note === undefined) return undefined
  const checkpoint = readCheckpoint(note, publicKey)
  if (checkpoint) return checkpoint
  throw new PoolError(
    'log_mismatch',
    `${fileOf(dataDir)} is no checkpoint signed by this pool.`,
    'Restore the file from a backup. If there is none, move it away: the next start then trusts the database alone.',
  )
}

/** Replaces the copy in one step; on disk when it resolves. */
export async function writeOutsideCopy(dataDir: string, note: string): Promise<void> {
  const draft = `${fileOf(dataDir)}.new`
  await writeSynced(draft, note, 'w')
  await rename(draft, fileOf(dataDir))
  await syncFolder(dataDir)
}
