import { realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { adminKeyFolder } from '#config'
import { type Identity, identityFromSeed } from '#crypto'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { privateFolder, readKeyFile, syncFolder, writeSynced } from '#storage'

const seedBytes = 32
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** Where the key of this name lies on an admin's own machine. @throws PoolError invalid_request. */
export function adminKeyFile(name: string): string {
  if (namePattern.test(name)) return path.join(adminKeyFolder(), `${name}.key`)
  const message = `${JSON.stringify(name)} does not name a file on every machine.`
  throw new PoolError('invalid_request', message, 'Use letters, digits, `.`, `_` and `-`, at most 64, or give --file.')
}

/**
 * Makes a private key in a new file (0600), never over another and never in the data folder of a pool: whoever holds that
 * folder could grant itself credits. @throws PoolError conflict, key_file_unsafe, invalid_request.
 */
export async function makeAdminKey(file: string, data: string, runtime: Runtime): Promise<Identity> {
  const folder = path.dirname(path.resolve(file))
  await refuseDataFolder(folder, data)
  if (folder === path.resolve(adminKeyFolder())) await privateFolder(folder)
  const seed = runtime.randomBytes(seedBytes)
  await writeSynced(file, `${seed.toString('base64url')}\n`).catch((error: NodeJS.ErrnoException) => {
    throw refusalOf(error, file)
  })
  await syncFolder(folder)
  return identityFromSeed(seed)
}

/** The key that signs. @throws PoolError not_found, key_file_unsafe. */
export async function loadAdminKey(file: string): Promise<Identity> {
  const seed = await readKeyFile(file, seedBytes)
  if (seed) return identityFromSeed(seed)
  throw new PoolError('not_found', `There is no admin key in ${file}.`, 'Make one: `lichen admin-key new NAME`.')
}

function refusalOf(error: NodeJS.ErrnoException, file: string): unknown {
  if (error.code === 'EEXIST') return new PoolError('conflict', `${file} is there already.`, 'Choose another name.')
  if (error.code === 'ENOENT') {
    return new PoolError(
      'invalid_request',
      `The folder of ${file} is not there.`,
      'Make it first, for you alone (0700).',
    )
  }
  return error
}

/** Not the folder this command knows as a pool's, nor below any that holds a pool's key. */
async function refuseDataFolder(folder: string, data: string): Promise<void> {
  const place = await realFolder(folder)
  const pools = [await realFolder(path.resolve(data))]
  for (let above = place; ; above = path.dirname(above)) {
    if (pools.includes(above) || (await isThere(path.join(above, 'pool.key')))) {
      const fix = 'Keep admin keys on the machine of the admin: leave --file out, or name another folder.'
      throw new PoolError('key_file_unsafe', `${above} is the data folder of a pool.`, fix)
    }
    if (above === path.dirname(above)) return
  }
}

/** Symbolic links followed, as far as the path exists. */
async function realFolder(folder: string): Promise<string> {
  try {
    return await realpath(folder)
  } catch {
    const above = path.dirname(folder)
    return above === folder ? folder : path.join(await realFolder(above), path.basename(folder))
  }
}

const isThere = (file: string) =>
  stat(file).then(
    () => true,
    () => false,
  )
