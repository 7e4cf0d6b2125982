import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Runtime } from '#runtime'

/** Where a running pool is, for commands on the same data folder. */
export interface PoolFile {
  readonly url: string
  readonly pid: number
  readonly pool_id: string
  /** Certificate the pool serves with: a command on the same machine trusts exactly that. */
  readonly tls_cert?: string
}

const nameOf = (data: string) => path.join(data, 'pool.json')

/** Whole or not at all; 0600. */
export async function writePoolFile(data: string, pool: PoolFile, runtime: Runtime): Promise<void> {
  await writePrivately(nameOf(data), `${JSON.stringify(pool)}\n`, runtime)
}

export async function removePoolFile(data: string): Promise<void> {
  await rm(nameOf(data), { force: true })
}

/** Replaces a small file in one step; nobody else may read it. */
export async function writePrivately(file: string, text: string, runtime: Runtime): Promise<void> {
  const fresh = `${file}.${runtime.uuid()}`
  await writeFile(fresh, text, { mode: 0o600 })
  await rename(fresh, file)
}

/** Undefined when there is none. */
export async function readIfThere(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}
