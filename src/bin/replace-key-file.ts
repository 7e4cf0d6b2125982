import { link, mkdir, rename } from 'node:fs/promises'
import path from 'node:path'
import { generateIdentity } from '#crypto'
import { systemRuntime as runtime } from '#runtime'
import { lockDataDir, privateFolder, readKeyFile, replacePrivateFile, syncFolder } from '#storage'
import { refuseMissingFolder } from './pool-database.ts'

/** 32 random bytes in the place of a key file of a pool that does not run. @throws PoolError data_in_use, key_file_unsafe, not_found. */
export async function replaceKeyFile(data: string, name: string): Promise<void> {
  await refuseMissingFolder(data)
  const lock = await lockDataDir(data, runtime)
  try {
    await privateFolder(data)
    await readKeyFile(path.join(data, name), 32) // one that others may read is looked at by a human first
    await writeKeyFile(path.join(data, name), runtime.randomBytes(32))
  } finally {
    await lock.release()
  }
}

/** One line of base64url in 0600, whole or not at all, in the place of what was there. */
export function writeKeyFile(file: string, bytes: Buffer): Promise<void> {
  return replacePrivateFile(file, `${bytes.toString('base64url')}\n`, runtime)
}

/**
 * Another payer key in `file`, once `register` has told the pool its public half. Until then the new one lies in `FILE.next`: cut off in
 * between, whichever the pool knows is on the disk. The old one is put aside as `FILE.retired-…`.
 */
export async function replacePayerKey(
  file: string,
  register: (publicKey: string) => Promise<unknown>,
): Promise<string> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
  const next = `${file}.next`
  const { seed, publicKey } = generateIdentity(runtime)
  await writeKeyFile(next, seed)
  const text = publicKey.toString('base64url')
  await register(text)
  const aside = `${file}.retired-${new Date(runtime.now()).toISOString().replace(/[:.]/g, '-')}`
  await link(file, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
  await rename(next, file)
  await syncFolder(path.dirname(file))
  return text
}
