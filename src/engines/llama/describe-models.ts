import { stat } from 'node:fs/promises'
import { PoolError } from '#protocol'
import { checkModels } from './check-models.ts'
import { fileDigest } from './file-digest.ts'
import { findModelFiles, modelParts } from './model-files.ts'

/**
 * What model files are: name, digest and size, for files of one part. Digests are remembered in `cacheFile`.
 * @throws PoolError model_unreadable.
 */
export async function describeModels(
  paths: readonly string[],
  cacheFile: string,
): Promise<{ name: string; path: string; digest: string; bytes: number }[]> {
  await checkModels(paths)
  const files = await findModelFiles(paths.map((path) => ({ path })))
  const described = []
  for (const { name, path } of files.filter((file) => modelParts(file.path).length === 1)) {
    const digest = await fileDigest([path], cacheFile).catch((error: Error) => {
      throw new PoolError(
        'model_unreadable',
        `${path} cannot be read: ${error.message}.`,
        'Name a file that stays as it is.',
      )
    })
    described.push({ name, path, digest, bytes: (await stat(path)).size })
  }
  return described
}
