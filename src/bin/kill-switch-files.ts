import { stat } from 'node:fs/promises'
import path from 'node:path'
import type { Settings } from '#config'
import { federationLimits, type SwitchFile } from '#federation'
import type { Runtime } from '#runtime'

/** Honoured on every pool, whatever its settings. */
const systemWideSwitch = '/etc/iamine/fed_disable'

/** The files that switch this pool's federation off by being there. */
export function killSwitchFilesOf({
  data,
  federationKillFiles,
}: Pick<Settings, 'data' | 'federationKillFiles'>): readonly string[] {
  return [systemWideSwitch, path.join(data, 'fed_disable'), ...federationKillFiles]
}

type Look = (file: string) => Promise<unknown>

/**
 * Which of these files switch federation off. Only "no such file" counts as absent: one that cannot be looked at, or about which the
 * file system gives no answer in time, counts as there.
 */
export async function killSwitchFilesThere(
  files: readonly string[],
  runtime: Runtime,
  look: Look = stat,
): Promise<readonly SwitchFile[]> {
  const late = Promise.withResolvers<'late'>()
  const timer = runtime.after(federationLimits.switchMsMax, () => late.resolve('late'))
  const there = files.map(async (path) => {
    const looked = look(path).then(
      () => 'there' as const,
      (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? 'absent' : 'unknown'),
    )
    const found = await Promise.race([looked, late.promise])
    return found === 'absent' ? [] : [{ path, isThere: found === 'there' }]
  })
  try {
    return (await Promise.all(there)).flat()
  } finally {
    timer.cancel()
  }
}
