import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { systemRuntime } from '#runtime'
import { type DatabaseTarget, openDatabase } from '#storage'

export interface PgbenchResult {
  readonly version: string
  readonly script: 'tpcb-like'
  readonly clients: number
  readonly scale: number
  readonly transactionsPerSecond: number
  readonly averageMs: number
}

const run = promisify(execFile)
const scale = 32

/** Debian keeps it beside the server it belongs to. */
function findPgbench(): string | undefined {
  const home = '/usr/lib/postgresql'
  const versions = existsSync(home) ? readdirSync(home).sort((a, b) => Number(b) - Number(a)) : []
  const beside = versions.map((version) => path.join(home, version, 'bin/pgbench'))
  return [...beside, '/usr/bin/pgbench'].find((file) => existsSync(file))
}

/** pgbench's own load in a database of its own on this server; undefined when there is no pgbench. */
export async function runPgbench(
  target: DatabaseTarget,
  { clients, seconds }: { clients: number; seconds: number },
): Promise<PgbenchResult | undefined> {
  const pgbench = findPgbench()
  if (!pgbench || 'url' in target) return undefined
  await using database = await openDatabase({ target, runtime: systemRuntime })
  await database.sql.unsafe('create database pgbench')
  const where = ['-h', target.socketDir, '-p', String(target.port), '-U', target.user]
  await run(pgbench, [...where, '-i', '-q', '-s', String(scale), 'pgbench'])
  const load = ['-b', 'tpcb-like', '-c', String(clients), '-j', '2', '-T', String(seconds), 'pgbench']
  const { stdout } = await run(pgbench, [...where, ...load])
  await database.sql.unsafe('drop database pgbench')
  const { stdout: version } = await run(pgbench, ['--version'])
  const number = (pattern: RegExp) => Math.round(Number(pattern.exec(stdout)?.[1] ?? 0) * 100) / 100
  const transactionsPerSecond = Math.round(number(/^tps = ([\d.]+)/m))
  const averageMs = number(/^latency average = ([\d.]+)/m)
  return { version: version.trim(), script: 'tpcb-like', clients, scale, transactionsPerSecond, averageMs }
}
