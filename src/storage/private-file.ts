import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Runtime } from '#runtime'

/**
 * Written and on the disk when it resolves, 0600. `wx` refuses a file that is there (EEXIST), `w` writes over it. What could not be
 * written whole, as on a full disk, is not left there: half a key would keep its name taken.
 */
export async function writeSynced(file: string, content: string | Buffer, flags: 'wx' | 'w' = 'wx'): Promise<void> {
  const handle = await open(file, flags, 0o600)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } catch (error) {
    await rm(file, { force: true })
    throw error
  } finally {
    await handle.close()
  }
}

/** So that the names in it are on the disk (fsync(2): a file's own sync does not say so of its folder). */
export async function syncFolder(folder: string): Promise<void> {
  const directory = await open(folder)
  await directory.sync().finally(() => directory.close())
}

/**
 * Puts `content` into `file` (0600) in the place of what was there: whole or not at all, and on the disk, name included, when it resolves.
 * When it throws, as on a full disk, the old file stands and no draft stays behind.
 */
export async function replacePrivateFile(file: string, content: string, runtime: Pick<Runtime, 'uuid'>): Promise<void> {
  const draft = `${file}.${runtime.uuid()}`
  try {
    await writeSynced(draft, content)
    await rename(draft, file)
  } finally {
    await rm(draft, { force: true })
  }
  await syncFolder(path.dirname(file))
}
