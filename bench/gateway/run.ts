/**
 * `npm run bench:gateway`: CPU per request and added latency of this pool against Portkey and a plain Node proxy.
 *
 * Contender processes are pinned to core 0; upstream, worker, PostgreSQL and load to core 1. CPU is the kernel's own
 * account (`/proc/PID/task/*​/schedstat`, nanoseconds) of the contender's process alone, PostgreSQL's beside it.
 * Contenders take turns inside every round; medians over the rounds. Before anything is measured each contender must
 * return status 200, 64 tokens and the same text; answers are checked again throughout.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import {
  assertEqualWork,
  type Contender,
  cpuOf,
  endAll,
  freePort,
  listening,
  node,
  start,
  startLichen,
  startLoad,
} from './stage.ts'

const here = import.meta.dirname
const root = path.resolve(here, '../..')
const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    concurrency: { type: 'string', default: '16,64,256' },
    out: { type: 'string', default: path.join(root, 'bench/results/gateway.json') },
  },
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)
const concurrencies = options.concurrency.split(',').map(Number)

/** Portkey is installed on first use from its own lockfile; nothing of it is in the product. */
function installPortkey(): void {
  const folder = path.join(here, 'portkey')
  if (!existsSync(path.join(folder, 'node_modules')))
    execFileSync('npm', ['ci', '--loglevel=error'], { cwd: folder, stdio: 'inherit' })
}

async function startContenders(): Promise<Contender[]> {
  installPortkey()
  const upstream = await freePort()
  start('1', node, [path.join(here, 'upstream.ts'), String(upstream)])
  await listening(upstream)
  const plain = await freePort()
  const plainProcess = start('0', node, [path.join(here, 'plain-proxy.ts'), String(plain), String(upstream)])
  const portkey = await freePort()
  const portkeyProcess = start('0', node, [
    path.join(here, 'portkey/node_modules/@portkey-ai/gateway/build/start-server.js'),
    '--headless',
    `--port=${portkey}`,
  ])
  await Promise.all([listening(plain), listening(portkey)])
  const key = { authorization: 'Bearer sk-bench-0123456789abcdef' }
  return [
    { name: 'direct', port: upstream, pid: 0, headers: key },
    await startLichen(root, 'lichen'),
    { name: 'plain', port: plain, pid: plainProcess.pid ?? 0, headers: key },
    {
      name: 'portkey',
      port: portkey,
      pid: portkeyProcess.pid ?? 0,
      headers: { ...key, 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `http://127.0.0.1:${upstream}/v1` },
    },
  ]
}

const apply = startLoad()

/** Until the code is compiled for what it does (a pool costs a third less after 20,000 requests): by requests, not by time, or a slow machine would measure the compiler. */
async function warmUp(contender: Contender, stream: boolean): Promise<void> {
  for (let requests = 0, left = 30; requests < 20_000 && left > 0; left--) {
    requests += (await apply(contender, { stream, connections: 32, seconds: 2 })).requests
  }
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const cells: Record<
  string,
  { cpuUs: number[]; besideUs: number[]; rps: number[]; events: number[]; p50: number[]; p99: number[] }
> = {}

async function measure(contender: Contender, mode: 'json' | 'sse', connections: number): Promise<void> {
  const pids = [contender.pid, ...(contender.beside?.() ?? [])]
  const before = pids.map(cpuOf)
  const result = await apply(contender, { stream: mode === 'sse', connections, seconds })
  assertEqualWork(contender, result)
  const name = `${mode} ${connections} ${contender.name}`
  const cell = cells[name] ?? { cpuUs: [], besideUs: [], rps: [], p50: [], p99: [], events: [] }
  cells[name] = cell
  // A database connection that closed meanwhile takes its account with it: it counts as no work since `before`.
  const usedUs = pids.map((pid, i) => (Math.max(0, cpuOf(pid) - (before[i] ?? 0)) * 1e6) / result.requests)
  cell.cpuUs.push(usedUs[0] ?? 0)
  cell.besideUs.push(usedUs.slice(1).reduce((sum, us) => sum + us, 0))
  cell.rps.push(result.requests / seconds)
  cell.events.push(result.events)
  cell.p50.push(result.p50)
  cell.p99.push(result.p99)
}

/** Added latency at 500 requests/s, open loop, so that a slow server cannot slow its own load. */
async function addedLatency(contenders: Contender[]) {
  const perContender: Record<string, { p50: number[]; p99: number[] }> = {}
  for (let round = 0; round < rounds; round++) {
    for (const contender of contenders) {
      const result = await apply(contender, { stream: false, connections: 64, seconds: seconds + 1, perSecond: 500 })
      const cell = perContender[contender.name] ?? { p50: [], p99: [] }
      perContender[contender.name] = cell
      cell.p50.push(result.p50)
      cell.p99.push(result.p99)
    }
  }
  const direct = { p50: median(perContender.direct?.p50 ?? []), p99: median(perContender.direct?.p99 ?? []) }
  return Object.fromEntries(
    Object.entries(perContender).map(([name, cell]) => [
      name,
      { addedP50Ms: median(cell.p50) - direct.p50, addedP99Ms: median(cell.p99) - direct.p99 },
    ]),
  )
}

try {
  const contenders = await startContenders()
  for (const stream of [false, true]) {
    for (const contender of contenders) await warmUp(contender, stream)
  }
  for (let round = 0; round < rounds; round++) {
    for (const mode of ['json', 'sse'] as const) {
      for (const connections of concurrencies) {
        for (const contender of contenders) await measure(contender, mode, connections)
      }
    }
    console.error(`round ${round + 1} of ${rounds} done`)
  }
  const latency = await addedLatency(contenders)
  const rows = Object.entries(cells).map(([name, cell]) => {
    const [mode = '', connections = '', contender = ''] = name.split(' ')
    const portkey = cells[`${mode} ${connections} portkey`]
    return {
      mode,
      connections: Number(connections),
      contender,
      cpuUs: Math.round(median(cell.cpuUs)),
      postgresUs: Math.round(median(cell.besideUs)),
      rps: Math.round(median(cell.rps)),
      events: Math.round(median(cell.events)),
      p50Ms: Number(median(cell.p50).toFixed(2)),
      p99Ms: Number(median(cell.p99).toFixed(2)),
      portkeyTimes: portkey ? Number((median(portkey.cpuUs) / median(cell.cpuUs)).toFixed(2)) : null,
    }
  })
  console.table(rows)
  console.table(latency)
  mkdirSync(path.dirname(options.out), { recursive: true })
  const machine = `${os.cpus()[0]?.model}, ${os.cpus().length} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB, Node ${process.version}`
  writeFileSync(
    options.out,
    `${JSON.stringify({ command: 'npm run bench:gateway', machine, rounds, seconds, rows, latencyAt500PerSecond: latency }, null, 2)}\n`,
  )
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  await endAll()
}
