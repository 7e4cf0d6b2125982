import { chmod, link, lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { codeOf } from './errors.ts'
import { syncFolder, writeSynced } from './private-file.ts'

const unsafe = (sentence: string, fix: string) => new PoolError('key_file_unsafe', sentence, fix)

/**
 * A folder for secrets: made 0700 when missing, closed when it is still empty, else refused when others may look in.
 * @throws PoolError key_file_unsafe; the file system's own errors.
 */
export async function privateFolder(folder: string): Promise<void> {
  await makeFolder(folder)
  if ((await readdir(folder)).length === 0) await chmod(folder, 0o700)
  await assertPrivate(folder, 0o700)
}

/** Like `mkdir -p`; Node's own recursion never ends on a file system that makes no folders, such as /proc. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 })
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return
    const parent = path.dirname(folder)
    if (codeOf(error) !== 'ENOENT' || (await lstat(parent).catch(() => undefined))) throw error
    await makeFolder(parent)
    await makeFolder(folder)
  }
}

async function assertPrivate(target: string, mode: 0o600 | 0o700): Promise<void> {
  const found = await lstat(target)
  const kind = mode === 0o700 ? found.isDirectory() : found.isFile()
  if (!kind)
    throw unsafe(`${target} is not a plain ${mode === 0o700 ? 'folder' : 'file'}.`, 'Put the key itself there.')
  const own = process.getuid?.()
  if (own !== undefined && found.uid !== own && own !== 0) {
    throw unsafe(
      `${target} belongs to user ${found.uid}, not to you.`,
      `Run as that user, or: chown ${own} '${target}'`,
    )
  }
  if (own === undefined || (found.mode & 0o077) === 0) return
  const octal = mode.toString(8)
  throw unsafe(
    `Others may read ${target} (mode ${(found.mode & 0o777).toString(8).padStart(4, '0')}).`,
    `chmod ${octal} '${target}'`,
  )
}

/**
 * The bytes of a key file (base64url text, one line); undefined when there is none.
 * @throws PoolError key_file_unsafe when others may read or change it, or it does not hold `bytes` bytes.
 */
export async function readKeyFile(file: string, bytes: number): Promise<Buffer | undefined> {
  try {
    await assertPrivate(file, 0o600)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
  const text = (await readFile(file, 'utf8')).trim()
  const key = Buffer.from(text, 'base64url')
  if (key.length === bytes && key.toString('base64url') === text) return key
  throw unsafe(`${file} does not hold a key.`, 'Restore it from a backup; a new key would make a new pool.')
}

/** Reads a key, or makes one of random bytes. Two processes that do so at once end up with the same. */
export async function readOrCreateKeyFile(file: string, bytes: number, runtime: Runtime): Promise<Buffer> {
  const found = await readKeyFile(file, bytes)
  if (found) return found
  const fresh = `${file}.${runtime.uuid()}`
  try {
    await writeSynced(fresh, `${runtime.randomBytes(bytes).toString('base64url')}\n`)
    await link(fresh, file).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error
    })
  } finally {
    await rm(fresh, { force: true })
  }
  await syncFolder(path.dirname(file))
  const kept = await readKeyFile(file, bytes)
  if (!kept) throw unsafe(`${file} vanished while it was written.`, 'Check who else works in that folder.')
  return kept
}
