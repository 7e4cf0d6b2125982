/** What the gateway's benchmarks share: processes pinned to cores, their CPU, a pool with its worker, a load. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'

const here = import.meta.dirname
const children: ChildProcess[] = []
const scratch = mkdtempSync(path.join(os.tmpdir(), 'lichen-bench-'))

/** On that core, until {@link endAll}. */
export function start(
  core: string,
  command: string,
  args: string[],
  stdio: 'ignore' | 'pipe' = 'ignore',
): ChildProcess {
  const child = spawn('taskset', ['-c', core, command, ...args], {
    cwd: here,
    stdio: [stdio, stdio, process.env.BENCH_VERBOSE ? 'inherit' : 'ignore'],
    env: { ...process.env, NODE_ENV: 'production' },
  })
  children.push(child)
  return child
}

export async function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })
}

export async function listening(port: number): Promise<void> {
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
export function cpuOf(pid: number): number {
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

export interface Contender {
  name: string
  port: number
  pid: number
  headers: Record<string, string>
  beside?: () => number[]
}

export interface LoadResult {
  requests: number
  bad: number
  unequal: number
  backlog: number
  /** Events with text in one streamed answer, mean. */
  events: number
  p50: number
  p99: number
}

export const node = process.execPath
const source = ['-C', 'lichen-source']

/** A pool and one worker of the checkout in `root`. `tokenMs`: the worker's engine takes so long for each token. */
export async function startLichen(root: string, name: string, tokenMs = 0): Promise<Contender> {
  const folder = path.join(scratch, name)
  const data = path.join(folder, 'pool')
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
  const worker = [path.join(root, 'bench/gateway/worker.ts'), invite, path.join(folder, 'worker'), String(tokenMs)]
  start('1', node, [...source, ...worker])
  let approved = false
  for (let tries = 0; tries < 200; tries++) {
    const joined = cli('workers', 'ls').data?.[0]
    if (joined && !approved) {
      cli('workers', 'approve', joined.id)
      approved = true
    }
    const ready = await fetch(`${url}/readyz`).catch(() => undefined)
    if (ready?.ok) break
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const port = Number(new URL(url).port)
  const beside = () => postgresPids(pid)
  for (const child of beside()) execFileSync('taskset', ['-a', '-pc', '1', String(child)], { stdio: 'ignore' })
  return { name, port, pid, headers: { authorization: `Bearer ${api_key}` }, beside }
}

/** A process that asks, one job at a time. */
export function startLoad(): (contender: Contender, job: object) => Promise<LoadResult> {
  const load = start('1', node, [path.join(here, 'load.ts')], 'pipe')
  const results = load.stdout && readline.createInterface({ input: load.stdout })
  return (contender, job) =>
    new Promise((resolve) => {
      results?.once('line', (line) => resolve(JSON.parse(line)))
      load.stdin?.write(`${JSON.stringify({ port: contender.port, headers: contender.headers, ...job })}\n`)
    })
}

/** @throws when an answer was not the one that everybody must give. */
export function assertEqualWork({ name }: Contender, { bad, unequal }: LoadResult): void {
  if (bad || unequal) throw new Error(`${name}: ${bad} bad, ${unequal} unequal answers`)
}

/** Ends every process, removes what they wrote, and this one. */
export async function endAll(): Promise<never> {
  for (const child of children) child.kill('SIGTERM')
  await new Promise((resolve) => setTimeout(resolve, 3_000))
  for (const child of children) child.kill('SIGKILL')
  rmSync(scratch, { recursive: true, force: true })
  process.exit()
}
