import { stat } from 'node:fs/promises'
import { federationLimits, type KillSwitch } from '#federation'
import type { Runtime, Timer } from '#runtime'

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

/** These files as a switch: looked at for every question, and every half second while something runs that must end. */
export function switchOfFiles(files: readonly string[], runtime: Runtime): KillSwitch {
  const running = new Set<() => void>()
  let looking: Timer | undefined
  const look = async () => {
    if (await killSwitchFileThere(files, runtime)) for (const abort of [...running]) abort()
  }
  return {
    on: () => killSwitchFileThere(files, runtime),
    register(abort) {
      running.add(abort)
      looking ??= runtime.every(federationLimits.switchPollMs, () => void look())
      return () => {
        running.delete(abort)
        if (running.size > 0) return
        looking?.cancel()
        looking = undefined
      }
    },
  }
}
