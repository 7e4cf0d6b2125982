import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { hex64 } from '#protocol'

const cacheSchema = z.record(z.string(), z.strictObject({ state: z.string(), sha256: hex64 }))
type Cache = z.infer<typeof cacheSchema>

/** What changes when a file does: size, times of content and of inode, inode. */
async function stateOf(paths: readonly string[]): Promise<string> {
  const states = await Promise.all(paths.map((path) => stat(path, { bigint: true })))
  return states.map(({ size, mtimeNs, ctimeNs, ino }) => [size, mtimeNs, ctimeNs, ino].join('-')).join(' ')
}

async function readCache(file: string): Promise<Cache> {
  try {
    const parsed = cacheSchema.safeParse(JSON.parse(await readFile(file, 'utf8')))
    return parsed.success ? parsed.data : {}
  } catch {
    return {} // absent or damaged: the files are hashed again
  }
}

async function hashFiles(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const path of paths) {
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer)
  }
  return hash.digest('hex')
}

/**
 * Lowercase hex SHA-256 of a model: of its file, or of its parts one after the other. Remembered in `cacheFile` until
 * size, time or inode change; a file that changes while it is read is an error.
 */
export async function fileDigest(paths: readonly string[], cacheFile: string | undefined): Promise<string> {
  const key = paths.join('\n')
  const state = await stateOf(paths)
  const known = cacheFile === undefined ? undefined : (await readCache(cacheFile))[key]
  if (known?.state === state) return known.sha256
  const sha256 = await hashFiles(paths)
  if ((await stateOf(paths)) !== state) throw new Error('the model file changed while it was read')
  // Where it cannot be remembered, on a full disk, it is as true as elsewhere.
  if (cacheFile !== undefined) await remember(cacheFile, key, { state, sha256 }).catch(() => {})
  return sha256
}

async function remember(cacheFile: string, key: string, known: Cache[string]): Promise<void> {
  const cache = { ...(await readCache(cacheFile)), [key]: known }
  const fresh = `${cacheFile}.${process.pid}`
  try {
    await writeFile(fresh, JSON.stringify(cache, null, 1), { mode: 0o600 })
    await rename(fresh, cacheFile)
  } finally {
    await rm(fresh, { force: true })
  }
}
