import { execFile } from 'node:child_process'
import { lstat, mkdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { PoolError } from '#protocol'
import { storageLimits } from '../limits.ts'
import type { Account } from './account.ts'

const run = promisify(execFile)

/**
 * The database's superuser, and the only one. Whoever can open the socket (0700) is trusted: only the account that owns
 * the cluster's files, and root, and a password in a file of that account would keep neither out. Networks are refused.
 */
export const serverUser = 'lichen'

/** Whether the cluster is there; refuses one of another major version of PostgreSQL. */
export async function clusterExists(account: Account): Promise<boolean> {
  const version = await readFile(path.join(account.cluster, 'PG_VERSION'), 'utf8').catch(() => undefined)
  if (version === undefined) return false
  const { stdout } = await runProgram(account, account.command, 'postgres', ['--version'])
  const ours = / (\d+)/.exec(stdout)?.[1]
  if (version.trim() === ours) return true
  throw new PoolError(
    'config_invalid',
    `The database in ${account.cluster} was made by PostgreSQL ${version.trim()}; this package holds ${ours}.`,
    'Start the Lichen that made it and use `lichen backup`, then restore the backup with this one.',
  )
}

/** Makes an empty cluster beside its place and moves it there, so that a half-made one is never mistaken for whole. */
export async function initCluster(account: Account, sync: boolean): Promise<void> {
  const draft = `${account.cluster}.new`
  await rm(draft, { recursive: true, force: true })
  await mkdir(draft, { mode: 0o700 })
  await account.init.own(draft)
  await runProgram(account, account.init.command, 'initdb', [
    ...['--pgdata', draft, '--username', serverUser, '--auth-local', 'trust', '--auth-host', 'reject'],
    ...['--encoding', 'UTF8', '--locale', 'C', '--no-instructions'],
    ...(sync ? [] : ['--no-sync']),
  ])
  await account.own(draft)
  if (await lstat(account.cluster).catch(() => undefined)) await rm(account.cluster, { recursive: true })
  await rename(draft, account.cluster)
}

async function runProgram(
  account: Account,
  command: Account['command'],
  program: string,
  programArgs: readonly string[],
): Promise<{ stdout: string }> {
  const { file, args, ...user } = command(program, programArgs)
  try {
    return await run(file, args, {
      ...user,
      cwd: '/',
      timeout: storageLimits.initDeadlineMs,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC', ...account.binaries.env },
    })
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error)
    const lines = said.split('\n')
    const telling = lines.filter((line) => /FATAL|PANIC|error|could not|No space|not found|cannot/.test(line))
    throw new PoolError(
      'database_unavailable',
      `PostgreSQL's ${program} failed: ${(telling.length > 0 ? telling : lines).slice(0, 2).join(' ')}`,
      'Look at the disk (full, read-only, other owner), or give DATABASE_URL of a PostgreSQL 15 or newer.',
    )
  }
}
