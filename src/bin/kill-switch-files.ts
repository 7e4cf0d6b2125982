import { stat } from 'node:fs/promises'
import { federationLimits } from '#federation'
import type { Runtime } from '#runtime'

type Look = (file: string) => Promise<unknown>

/** Whether one of these files switches federation off. Only "no such file" counts as absent; an error, or no answer in time, as there. */
export async function killSwitchFileThere(
  files: readonly string[],
  runtime: Runtime,
  look: Look = stat,
): Promise<boolean> {
  const late = Promise.withResolvers<true>()
  const timer = runtime.after(federationLimits.switchMsMax, () => late.resolve(true))
  const looks = files.map((file) =>
    look(file).then(
      () => true,
      (error: NodeJS.ErrnoException) => error.code !== 'ENOENT',
    ),
  )
  try {
    return await Promise.race([Promise.all(looks).then((found) => found.includes(true)), late.promise])
  } finally {
    timer.cancel()
  }
}
