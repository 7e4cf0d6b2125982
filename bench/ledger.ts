/**
 * Hold + post cycles of the ledger through the group commit, against pgbench's tpcb-like on the same server in the same
 * run. Each cycle is two operations of a caller that waits for both commits; the server flushes to disk (fsync on).
 * Writes bench/results/ledger.json.
 *
 * pgbench is Debian's package `postgresql-contrib` (or `postgresql-15`); without it the ratio is left out.
 *
 *   npm run bench:ledger [-- seconds]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { systemRuntime } from '#runtime'
import { migrate, openDatabase, readMigrations, startEmbeddedPostgres } from '#storage'
import { fillLedger, type Measured, measure } from './ledger/load.ts'
import { runPgbench } from './ledger/pgbench.ts'

const seconds = Number(process.argv[2] ?? 8)
const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-bench-ledger-'))
const server = await startEmbeddedPostgres({ dataDir: folder, runtime: systemRuntime, settings: {} })
try {
  const pgbench = await runPgbench(server.target, { clients: 32, seconds })
  console.log(
    pgbench
      ? `pgbench tpcb-like -c 32: ${pgbench.transactionsPerSecond} transactions/s`
      : 'pgbench is missing: no ratio',
  )
  const results: Measured[] = []
  await using database = await openDatabase({ target: server.target, runtime: systemRuntime })
  await migrate(database, await readMigrations(path.join(import.meta.dirname, '../migrations')))
  await fillLedger(database)
  const usual = { shortEvery: 0, budgets: true }
  const loads = [
    ...[1, 32, 512, 4_096].flatMap((callers) => [
      { ...usual, callers, payees: 'hot' as const },
      { ...usual, callers, payees: 'random' as const },
    ]),
    { ...usual, callers: 512, payees: 'random' as const, shortEvery: 100 },
    { ...usual, callers: 512, payees: 'hot' as const, budgets: false },
  ]
  await measure(database, { ...usual, callers: 64, payees: 'random', seconds: 1 })
  console.log('callers  payees  short budgets    cycles/s    p50 ms    p99 ms   µs of node   ops a flush')
  for (const load of loads) {
    const one = await measure(database, { ...load, seconds })
    results.push(one)
    const cells = [one.cyclesPerSecond, one.p50Ms, one.p99Ms, one.cpuUsPerCycle, one.perFlush]
    const short = (load.shortEvery ? '1 %' : '-').padStart(7) + (load.budgets ? 'yes' : 'no').padStart(8)
    console.log(
      `${String(load.callers).padStart(7)}${load.payees.padStart(8)}${short}${cells.map((cell) => String(cell).padStart(11)).join('')}`,
    )
  }
  const rate = (callers: number, payees: string, shortEvery = 0, budgets = true) =>
    results.find(
      (r) => r.callers === callers && r.payees === payees && r.shortEvery === shortEvery && r.budgets === budgets,
    )?.cyclesPerSecond ?? 0
  const ratios = {
    toPgbenchAt512: pgbench ? round(rate(512, 'hot') / pgbench.transactionsPerSecond) : null,
    toPgbenchAt512WithoutBudgets: pgbench ? round(rate(512, 'hot', 0, false) / pgbench.transactionsPerSecond) : null,
    toPgbenchAt512Random: pgbench ? round(rate(512, 'random') / pgbench.transactionsPerSecond) : null,
    hotToRandomAt512: round(rate(512, 'hot') / rate(512, 'random')),
    shortToRandomAt512: round(rate(512, 'random', 100) / rate(512, 'random')),
  }
  console.log(ratios)
  write({ goals: { toPgbenchAt512: 4, hotToRandomAt512: 0.8 }, ratios, pgbench: pgbench ?? 'missing', results })
} finally {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
}

function round(ratio: number): number {
  return Number(ratio.toFixed(2))
}

function write(measured: object): void {
  const results = path.join(import.meta.dirname, 'results')
  mkdirSync(results, { recursive: true })
  const cpu = os.cpus()[0]?.model.trim()
  const machine = { cpu, cores: os.cpus().length, node: process.version, platform: `${os.type()} ${os.release()}` }
  const page = {
    command: 'npm run bench:ledger',
    machine,
    measured: new Date().toISOString().slice(0, 10),
    ...measured,
  }
  writeFileSync(path.join(results, 'ledger.json'), `${JSON.stringify(page, undefined, 2)}\n`)
}
