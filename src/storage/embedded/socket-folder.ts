import { createHash } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { storageLimits } from '../limits.ts'

export const serverPort = 5432
const temporaryPrefix = '/tmp/lichen-'

/** A fresh folder (0700) for the server's socket: beside the cluster, or in /tmp when that path is too long. */
export async function makeSocketFolder(home: string): Promise<string> {
  const beside = path.join(home, 'run')
  const longest = path.join(beside, `.s.PGSQL.${serverPort}`)
  if (Buffer.byteLength(longest) <= storageLimits.socketPathBytesMax) return makeFresh(beside)
  // always the same, so that a killed pool's is found and replaced; another user may have taken the name
  const name = createHash('sha256').update(home).digest('hex').slice(0, 16)
  return makeFresh(temporaryPrefix + name).catch(() => mkdtemp(temporaryPrefix))
}

async function makeFresh(folder: string): Promise<string> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { mode: 0o700 })
  await chmod(folder, 0o700)
  return folder
}

/** Removes a folder made here, and nothing else. */
export async function removeSocketFolder(folder: string): Promise<void> {
  const ours = folder.startsWith(temporaryPrefix) || path.basename(folder) === 'run'
  if (ours) await rm(folder, { recursive: true, force: true })
}

/** Removes a dead server's socket and its lock, whose number may by now be another process's. */
export async function emptySocketFolder(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await rm(path.join(folder, name), { force: true })
}
