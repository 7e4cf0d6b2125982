import { readdir, readFile, readlink, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Runtime } from '#runtime'
import { storageLimits } from '../limits.ts'
import { commandLine, isRunning, type ProcessIdentity, processIdentity } from '../process-identity.ts'
import { emptySocketFolder, removeSocketFolder } from './socket-folder.ts'

/**
 * Ends what a killed pool left behind on this cluster, then removes what it left on disk. A process that merely got
 * the number written in `postmaster.pid` is not touched.
 *
 * @param keepFolder the socket folder, when it will be used again.
 */
export async function stopOrphans(cluster: string, runtime: Runtime, keepFolder?: string): Promise<void> {
  const pidFile = path.join(cluster, 'postmaster.pid')
  // PostgreSQL documentation §54 (storage): pid, data directory, start, port, socket directory, …
  const lines = (await readFile(pidFile, 'utf8').catch(() => '')).split('\n')
  const processes = await serversOf(cluster, Number(lines[0]))
  // the postmaster first: fast shutdown, immediate shutdown, the end
  const plan = [
    ['SIGINT', storageLimits.stopDeadlineMs],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ] as const
  const postmaster = processes.filter((found) => found.pid === Number(lines[0]))
  const signals = postmaster.length > 0 ? plan : plan.slice(1)
  for (const [signal, waitMs] of signals) {
    for (const target of postmaster.length > 0 ? postmaster : processes) signalIfRunning(target, signal)
    if (await allGone(processes, waitMs, runtime)) break
  }
  await rm(pidFile, { force: true })
  if (keepFolder !== undefined) await emptySocketFolder(keepFolder)
  else if (lines[4]) await removeSocketFolder(lines[4])
}

function signalIfRunning(target: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isRunning(target)) return
  try {
    process.kill(target.pid, signal)
  } catch {
    // it ended between the two lines
  }
}

async function allGone(processes: readonly ProcessIdentity[], waitMs: number, runtime: Runtime): Promise<boolean> {
  const until = runtime.monotonic() + waitMs
  while (processes.some(isRunning)) {
    if (runtime.monotonic() >= until) return false
    await runtime.sleep(20)
  }
  return true
}

/** Every PostgreSQL process that works in this cluster: all of them stand in its folder. */
async function serversOf(cluster: string, postmaster: number): Promise<ProcessIdentity[]> {
  const pids =
    process.platform === 'linux' ? (await readdir('/proc')).filter((name) => /^\d+$/.test(name)) : [postmaster]
  const found: ProcessIdentity[] = []
  for (const pid of pids.map(Number)) {
    const identity = pid > 0 && (await isServerOf(cluster, pid)) ? processIdentity(pid) : undefined
    if (identity) found.push(identity)
  }
  return found
}

async function isServerOf(cluster: string, pid: number): Promise<boolean> {
  const command = commandLine(pid) ?? ''
  if (!/\bpostgres\b/.test(command)) return false
  if (process.platform !== 'linux') return command.includes(cluster)
  const folder = await readlink(`/proc/${pid}/cwd`).catch(() => undefined)
  return folder === undefined ? command.includes(`-D ${cluster}`) : folder === cluster
}
