import { lstatSync } from 'node:fs'
import { stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { Settings } from '#config'
import { federationLimits, type SwitchFile } from '#federation'
import { type Runtime, withDeadline } from '#runtime'
import { binLimits } from './limits.ts'

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

/** Linux file systems on disks and in memory of the machine itself, by statfs(2): a look at a name there takes 2 µs and waits for nobody. */
const ownFileSystems: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x5846_5342, // XFS
  0x9123_683e, // Btrfs
  0x2fc1_2fc1, // ZFS
  0xf2f5_2010, // F2FS
  0x0102_1994, // tmpfs
  0x794c_7630, // overlayfs
])

/**
 * The same files, asked for each request. Where all lie on the machine's own file systems they are looked at directly: handing that to a
 * thread and waiting costs thirty times as much, most of what refusing garbage would cost. Any other file system may not answer, so it is
 * asked with a deadline.
 */
export class KillSwitchFiles {
  readonly #files: readonly string[]
  readonly #runtime: Runtime
  readonly #typeOf: (folder: string) => Promise<number>
  /** Whether all were on the machine's own file systems when that was looked at last, and when: monotonic. */
  #own = false
  #judgedAt: number | undefined

  constructor(
    files: readonly string[],
    runtime: Runtime,
    typeOf = async (folder: string) => (await statfs(folder)).type,
  ) {
    this.#files = files
    this.#runtime = runtime
    this.#typeOf = typeOf
  }

  /** Those that switch federation off now. */
  there(): readonly SwitchFile[] | Promise<readonly SwitchFile[]> {
    this.#judge()
    const found = this.#own ? this.#lookAtOwn() : undefined
    return found ?? killSwitchFilesThere(this.#files, this.#runtime)
  }

  /** Undefined: one of them is a link, which may lead anywhere. */
  #lookAtOwn(): readonly SwitchFile[] | undefined {
    const there: SwitchFile[] = []
    for (const path of this.#files) {
      try {
        const found = lstatSync(path, { throwIfNoEntry: false })
        if (found?.isSymbolicLink()) return undefined
        if (found) there.push({ path, isThere: true })
      } catch {
        there.push({ path, isThere: false })
      }
    }
    return there
  }

  /** Something else may be mounted there by now. */
  #judge(): void {
    const now = this.#runtime.monotonic()
    if (this.#judgedAt !== undefined && now - this.#judgedAt < binLimits.fileSystemsMs) return
    this.#judgedAt = now
    const own = Promise.all(this.#files.map((file) => this.#isOwn(path.dirname(file))))
    withDeadline(this.#runtime, federationLimits.switchMsMax, new Error('no answer'), own).then(
      (all) => {
        this.#own = all.every(Boolean)
      },
      () => {
        this.#own = false
      },
    )
  }

  /** A folder that is not there yet is made where its parent is. */
  async #isOwn(folder: string): Promise<boolean> {
    try {
      return ownFileSystems.has(await this.#typeOf(folder))
    } catch (error) {
      const parent = path.dirname(folder)
      return (error as NodeJS.ErrnoException).code === 'ENOENT' && parent !== folder && this.#isOwn(parent)
    }
  }
}
