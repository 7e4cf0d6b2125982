import type { Runtime } from '#runtime'
import { lockDataDir } from '#storage'
import type { Closers } from './closers.ts'
import type { Lifetime } from './lifetime.ts'

interface TakeOptions {
  readonly data: string
  readonly runs: 'pool' | 'worker'
  readonly runtime: Runtime
  readonly life: Pick<Lifetime, 'stopping'>
  /** The process whose end ends us: npm. */
  readonly launcher: number | undefined
}

/**
 * Ours until we end; whoever starts after us waits a moment when we are about to end.
 * @throws PoolError data_in_use, config_invalid, key_file_unsafe.
 */
export async function takeDataFolder({ data, runs, runtime, life, launcher }: TakeOptions, closers: Closers) {
  const lock = await lockDataDir(data, runtime, { launcher, runs })
  closers.add('data folder', () => lock.release())
  life.stopping.addEventListener('abort', () => void lock.stopping().catch(() => {}), { once: true })
}
