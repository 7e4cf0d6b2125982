import path from 'node:path'
import { type Identity, poolItself } from '#identity'
import type { Runtime } from '#runtime'
import { readIfThere, writePrivately } from './pool-file.ts'

/** The key that `up` hands out, and whether it was made just now. */
export interface FirstApiKey {
  readonly key: string
  readonly isNew: boolean
}

/**
 * Kept in `<data>/first-api-key` (0600), so that a script and `lichen chat` find a key that works at every start. One that
 * was revoked or has expired is replaced.
 */
export async function firstApiKey(data: string, identity: Identity, runtime: Runtime): Promise<FirstApiKey> {
  const file = path.join(data, 'first-api-key')
  const kept = (await readIfThere(file))?.trim()
  if (kept && !('code' in (await identity.authenticate(kept)))) return { key: kept, isNew: false }
  const { key } = await identity.createApiKey({ name: 'first key' }, poolItself)
  await writePrivately(file, `${key}\n`, runtime)
  return { key, isNew: true }
}
