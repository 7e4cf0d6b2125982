import { link, lstat, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { codeOf } from './errors.ts'
import { privateFolder } from './key-file.ts'
import { storageLimits } from './limits.ts'
import { isRunning, type ProcessIdentity, processIdentity } from './process-identity.ts'

/** The right to use a data directory. */
export interface DataDirLock {
  /** Tells the next start that it is worth waiting: this program is about to end. */
  stopping(): Promise<void>
  release(): Promise<void>
}

interface LockOptions {
  /** The process whose end will end this one: npm. */
  readonly launcher?: number | undefined
  /** What runs on such a directory. */
  readonly runs?: 'pool' | 'worker'
}

interface Holder extends ProcessIdentity {
  /** Names this holding; its successor's file carries it. */
  readonly id: string
  /** The process that started the holder and whose end ends it: npm. */
  readonly launcher?: ProcessIdentity
  readonly stopping?: boolean
}

const lockFile = 'lichen.lock'

/**
 * Takes the data directory for this process, making it (0700) when missing.
 *
 * The lock is a chain of files, each made exclusively: `lichen.lock` names the first holder, `lichen.lock.after-<id>`
 * the one that found holder `<id>` dead, and so on; the last one holds the directory. So of two starts that find the
 * same dead holder exactly one succeeds it, whenever each of them looked. A holder shortens the chain to itself.
 *
 * @throws PoolError data_in_use naming the process; config_invalid when the directory cannot be written.
 */
export async function lockDataDir(
  directory: string,
  runtime: Runtime,
  { launcher, runs = 'pool' }: LockOptions = {},
): Promise<DataDirLock> {
  await makeDirectory(directory)
  const us = ourselves(runtime, launcher)
  const until = runtime.monotonic() + storageLimits.leavingHolderMs
  for (;;) {
    const holder = await tryToHold(directory, us)
    if (holder === undefined) return held(directory, us)
    if (!isLeaving(holder) || runtime.monotonic() >= until) {
      throw new PoolError(
        'data_in_use',
        `Process ${holder.pid} already runs a ${runs} on ${directory}.`,
        `Stop it first (kill ${holder.pid}), or give this one another folder with --data.`,
      )
    }
    await runtime.sleep(50)
  }
}

async function makeDirectory(directory: string): Promise<void> {
  try {
    await privateFolder(directory)
    await refuseForeign(directory)
  } catch (error) {
    if (error instanceof PoolError) throw error
    throw unwritable(directory, error)
  }
}

/** Root may write anywhere; what it leaves in another user's data directory that user could not read any more. */
async function refuseForeign(directory: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  for (const name of ['pool.key', 'postgres']) {
    const found = await lstat(path.join(directory, name)).catch(() => undefined)
    if (!found || found.uid === 0) continue
    throw new PoolError(
      'config_invalid',
      `The pool in ${directory} belongs to user ${found.uid}.`,
      'Start as that user, or give another folder with --data.',
    )
  }
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'it belongs to another user',
  EPERM: 'it belongs to another user',
  EROFS: 'the disk is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'it is not a folder',
}

/** Why a data directory cannot be used, in words. */
export function unwritable(directory: string, error: unknown): PoolError {
  const code = codeOf(error)
  return new PoolError(
    'config_invalid',
    `The data directory ${directory} cannot be written: ${reasons[code] ?? (code || String(error))}.`,
    'Give a folder of your own with --data, on a disk that has room.',
  )
}

function ourselves(runtime: Runtime, launcher: number | undefined): Holder {
  const started = launcher === undefined ? undefined : processIdentity(launcher)
  const own = processIdentity(process.pid) ?? { pid: process.pid, start: '' }
  return { ...own, id: runtime.uuid(), ...(started ? { launcher: started } : {}) }
}

const isLeaving = (holder: Holder) =>
  holder.stopping === true || (holder.launcher !== undefined && !isRunning(holder.launcher))

/** Undefined when we hold the directory now; otherwise who does. */
async function tryToHold(directory: string, us: Holder): Promise<Holder | undefined> {
  const last = await lastHolder(directory)
  if (last && isRunning(last)) return last
  const ours = path.join(directory, last ? `${lockFile}.after-${last.id}` : lockFile)
  if (!(await createExclusively(directory, ours, us))) return lastHolder(directory)
  // somebody may have shortened the chain since we read it: then ours hangs from nothing
  const now = await lastHolder(directory)
  if (now?.id !== us.id) {
    await rm(ours, { force: true })
    return now ?? tryToHold(directory, us)
  }
  await replaceChain(directory, us)
  return undefined
}

/** The end of the chain; undefined when nobody holds the directory. */
async function lastHolder(directory: string): Promise<Holder | undefined> {
  let last: Holder | undefined
  for (;;) {
    const next = await readHolder(path.join(directory, last ? `${lockFile}.after-${last.id}` : lockFile))
    if (!next) return last
    last = next
  }
}

async function readHolder(file: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Holder
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    // power was lost while it was written: nobody who still runs
    if (error instanceof SyntaxError) return { pid: -1, start: 'unreadable', id: 'unreadable' }
    throw unwritable(path.dirname(file), error)
  }
}

async function writeDraft(directory: string, us: Holder): Promise<string> {
  const draft = path.join(directory, `${lockFile}.draft-${us.id}`)
  try {
    await writeFile(draft, JSON.stringify(us), { mode: 0o600 })
  } catch (error) {
    throw unwritable(directory, error)
  }
  return draft
}

async function createExclusively(directory: string, file: string, us: Holder): Promise<boolean> {
  const draft = await writeDraft(directory, us)
  try {
    await link(draft, file)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw unwritable(directory, error)
  } finally {
    await rm(draft, { force: true })
  }
}

/** Makes us the first holder, in one step, then removes what came before. */
async function replaceChain(directory: string, us: Holder): Promise<void> {
  const old: string[] = []
  for (let last = await readHolder(path.join(directory, lockFile)); last && last.id !== us.id; ) {
    const file = path.join(directory, `${lockFile}.after-${last.id}`)
    old.push(file)
    last = await readHolder(file)
  }
  await rename(await writeDraft(directory, us), path.join(directory, lockFile))
  for (const file of old) await rm(file, { force: true })
}

function held(directory: string, us: Holder): DataDirLock {
  let holding = true
  return {
    async stopping() {
      if (holding) await rename(await writeDraft(directory, { ...us, stopping: true }), path.join(directory, lockFile))
    },
    async release() {
      if (!holding) return
      holding = false
      await unlink(path.join(directory, lockFile)).catch(() => {})
    },
  }
}
