import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { DatabaseTarget } from '../address.ts'
import { isRunning, processIdentity } from '../process-identity.ts'
import { pointerFile } from './account.ts'
import { serverUser } from './init-cluster.ts'

/**
 * The embedded server that another process runs on this data directory; undefined when none accepts connections. Whoever
 * may open its socket, which is for the pool's own user (and root), may do anything there.
 */
export async function runningPostgres(dataDir: string): Promise<DatabaseTarget | undefined> {
  const moved = await readFile(path.join(dataDir, pointerFile), 'utf8').catch(() => dataDir)
  const file = path.join(moved.trim(), 'postgres', 'postmaster.pid')
  // PostgreSQL documentation §54 (storage): pid, data directory, start, port, socket directory, listen address, memory, status
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n')
  const server = processIdentity(Number(lines[0]) || -1)
  const [port, socketDir] = [Number(lines[3]), lines[4]]
  if (!server || !isRunning(server) || !socketDir || lines[7]?.trim() !== 'ready') return undefined
  return { socketDir, port, user: serverUser, database: 'postgres' }
}
