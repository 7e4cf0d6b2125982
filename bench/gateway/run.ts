/**
 * `npm run bench:gateway`: CPU per request and added latency of this pool against Portkey and a plain Node proxy.
 *
 * Contender processes are pinned to core 0; upstream, worker, PostgreSQL and load to core 1. CPU is the kernel's own
 * account (`/proc/PID/task/*​/schedstat`, nanoseconds) of the contender's process alone, PostgreSQL's beside it.
 * Contenders take turns inside every round; medians over the rounds. Before anything is measured each contender must
 * return status 200, 64 tokens and the same text; answers are checked again throughout.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { parseArgs } from 'node:util'

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

const children: ChildProcess[] = []
const scratch = mkdtempSync(path.join(os.tmpdir(), 'lichen-bench-'))

function start(core: string, command: string, args: string[], stdio: 'ignore' | 'pipe' = 'ignore'): ChildProcess {
  const child = spawn('taskset', ['-c', core, command, ...args], {
    cwd: here,
    stdio: [stdio, stdio, process.env.BENCH_VERBOSE ? 'inherit' : 'ignore'],
    env: { ...process.env, NODE_ENV: 'production' },
  })
  children.push(child)
  return child
}

async function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })
}

async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(true))
      socket.on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
    if (open) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`nothing listens on port ${port}`)
}

/** CPU seconds a process has used, all its threads. */
function cpuOf(pid: number): number {
  if (!existsSync(`/proc/${pid}/task`) || pid === 0) return 0
  let ns = 0
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
  }
  return ns / 1e9
}

function postgresPids(parent: number): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const parents = new Map<number, number>()
  const postgres = new Set<number>()
  for (const name of all) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
      if (stat.includes('(postgres)')) postgres.add(Number(name))
    } catch {
      // The process ended while we looked.
    }
  }
  const under = (pid: number): boolean => pid === parent || (pid > 1 && under(parents.get(pid) ?? 0))
  return [...postgres].filter(under)
}

interface Contender {
  name: string
  port: number
  pid: number
  headers: Record<string, string>
  beside?: () => number[]
}

interface LoadResult {
  requests: number
  bad: number
  unequal: number
  backlog: number
  /** Events with text in one streamed answer, mean. */
  events: number
  p50: number
  p99: number
}

const node = process.execPath
const source = ['-C', 'lichen-source']

async function startLichen(): Promise<Contender> {
  const data = path.join(scratch, 'pool')
  const lichen = path.join(root, 'bin/lichen')
  const pool = start('0', lichen, ['pool', '--json', '--port', '0', '--data', data], 'pipe')
  const line = await new Promise<string>((resolve, reject) => {
    if (pool.stdout) readline.createInterface({ input: pool.stdout }).once('line', resolve)
    pool.once('exit', (code) => reject(new Error(`the pool ended with ${code}`)))
  })
  const { url, api_key, pid } = JSON.parse(line)
  const cli = (...args: string[]) =>
    JSON.parse(execFileSync(lichen, [...args, '--json', '--data', data], { encoding: 'utf8' }))
  const { invite } = cli('invite', '--operator', 'self')
  start('1', node, [...source, path.join(here, 'worker.ts'), invite, path.join(scratch, 'worker')])
  let approved = false
  for (let tries = 0; tries < 200; tries++) {
    const worker = cli('workers', 'ls').data?.[0]
    if (worker && !approved) {
      cli('workers', 'approve', worker.id)
      approved = true
    }
    const ready = await fetch(`${url}/readyz`).catch(() => undefined)
    if (ready?.ok) break
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const port = Number(new URL(url).port)
  const beside = () => postgresPids(pid)
  for (const child of beside()) execFileSync('taskset', ['-a', '-pc', '1', String(child)], { stdio: 'ignore' })
  return { name: 'lichen', port, pid, headers: { authorization: `Bearer ${api_key}` }, beside }
}

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
    await startLichen(),
    { name: 'plain', port: plain, pid: plainProcess.pid ?? 0, headers: key },
    {
      name: 'portkey',
      port: portkey,
      pid: portkeyProcess.pid ?? 0,
      headers: { ...key, 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `http://127.0.0.1:${upstream}/v1` },
    },
  ]
}

const load = start('1', node, [path.join(here, 'load.ts')], 'pipe')
const results = load.stdout && readline.createInterface({ input: load.stdout })

function apply(contender: Contender, job: object): Promise<LoadResult> {
  return new Promise((resolve) => {
    results?.once('line', (line) => resolve(JSON.parse(line)))
    load.stdin?.write(`${JSON.stringify({ port: contender.port, headers: contender.headers, ...job })}\n`)
  })
}

/** Until the code is compiled for what it does: by requests, not by time, or a slow machine would measure the compiler. */
async function warmUp(contender: Contender, stream: boolean): Promise<void> {
  for (let requests = 0, left = 15; requests < 4_000 && left > 0; left--) {
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
  if (result.bad || result.unequal) {
    throw new Error(`${contender.name} ${mode} c=${connections}: ${result.bad} bad, ${result.unequal} unequal answers`)
  }
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
  for (const child of children) child.kill('SIGTERM')
  await new Promise((resolve) => setTimeout(resolve, 3_000))
  for (const child of children) child.kill('SIGKILL')
  rmSync(scratch, { recursive: true, force: true })
  process.exit()
}
