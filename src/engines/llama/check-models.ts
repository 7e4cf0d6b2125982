import { PoolError } from '#protocol'
import { checkGgufHeader } from './check-gguf-header.ts'
import { findModelFiles, modelParts } from './model-files.ts'

/**
 * Looks whether model files are there, may be read and begin as GGUF files do; loading them is left to the engine.
 * @throws PoolError model_unreadable.
 */
export async function checkModels(paths: readonly string[]): Promise<void> {
  const files = await findModelFiles(paths.map((path) => ({ path })))
  for (const part of files.flatMap((file) => modelParts(file.path))) {
    await checkGgufHeader(part).catch((error: NodeJS.ErrnoException) => {
      if (error instanceof PoolError) throw error
      const fix = 'Check that the file is there and that you may read it.'
      throw new PoolError('model_unreadable', `${part} cannot be read (${error.code}).`, fix)
    })
  }
}
