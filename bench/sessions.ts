/**
 * Connected workers per gigabyte, what an idle one costs, and how long a restarted pool needs until all are back.
 * Real Noise sessions over loopback; pool and fleet are processes of their own.
 *
 *   npm run bench:sessions            10,000 workers
 *   npm run bench:sessions -- 2000    fewer (each side needs one file descriptor per worker)
 */
import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { FleetAnswer } from './sessions/fleet.ts'
import type { PoolAnswer, PoolQuestion } from './sessions/pool.ts'

const workers = Number(process.argv[2] ?? 10_000)
const fleets = 2
const idleSeconds = 20
const here = import.meta.dirname
const children: ChildProcess[] = []

function start(file: string, args: readonly (string | number)[], execArgv: string[] = []): ChildProcess {
  const child = fork(path.join(here, 'sessions', file), args.map(String), {
    execArgv: ['-C', 'lichen-source', ...execArgv],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  children.push(child)
  return child
}

const answer = <T = PoolAnswer>(child: ChildProcess) => new Promise<T>((resolve) => child.once('message', resolve))
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function startPool(port: number, keysKnown: 'yes' | 'no'): Promise<{ child: ChildProcess; port: number }> {
  const child = start('pool.ts', [port, keysKnown], ['--expose-gc'])
  const first = await answer(child)
  if (!('listening' in first)) throw new Error('the pool did not say where it listens')
  return { child, port: first.listening }
}

async function ask(child: ChildProcess, question: PoolQuestion) {
  const answered = answer(child)
  child.send(question)
  const figures = await answered
  if (!('available' in figures)) throw new Error('the pool did not answer')
  return figures
}

async function cpuOf(fleet: readonly ChildProcess[]): Promise<number> {
  const answers = fleet.map((child) => answer<FleetAnswer>(child))
  for (const child of fleet) child.send('usage')
  return (await Promise.all(answers)).reduce((sum, { cpuMs }) => sum + cpuMs, 0)
}

/** Seconds until all workers are there. */
async function allThere(child: ChildProcess): Promise<number> {
  const begin = performance.now()
  for (;;) {
    const { available } = await ask(child, 'count')
    if (available === workers) return (performance.now() - begin) / 1_000
    if (performance.now() - begin > 300_000) throw new Error(`only ${available} of ${workers} workers came`)
    await sleep(200)
  }
}

async function main(): Promise<void> {
  const [loadBefore = 0] = os.loadavg()
  const first = await startPool(0, 'no')
  const empty = await ask(first.child, 'usage')
  const url = `http://127.0.0.1:${first.port}`
  const fleet = Array.from({ length: fleets }, () => start('fleet.ts', [url, Math.ceil(workers / fleets)]))
  const joinSeconds = await allThere(first.child)
  await sleep(2_000)
  const joined = await ask(first.child, 'usage')
  await sleep(idleSeconds * 1_000)
  const idle = await ask(first.child, 'usage')

  const fleetCpuBefore = await cpuOf(fleet)
  first.child.kill('SIGKILL')
  const killedAt = performance.now()
  const second = await startPool(first.port, 'yes')
  const backSeconds = await allThere(second.child)
  const sinceKillSeconds = (performance.now() - killedAt) / 1_000
  const back = await ask(second.child, 'usage')
  const fleetCpuMs = (await cpuOf(fleet)) - fleetCpuBefore

  const bytesEach = (idle.rssBytes - empty.rssBytes) / workers
  const result = {
    workers,
    joinSeconds: round(joinSeconds),
    joinPoolCpuMsPerWorker: round((joined.cpuMs - empty.cpuMs) / workers),
    rssEmptyMB: round(empty.rssBytes / 1e6),
    rssConnectedMB: round(idle.rssBytes / 1e6),
    kilobytesPerWorker: round(bytesEach / 1e3),
    workersPerGB: Math.floor(1e9 / bytesEach),
    idleCpuPercentOfOneCore: round((idle.cpuMs - joined.cpuMs) / idleSeconds / 10),
    storm: {
      secondsFromListening: round(backSeconds),
      secondsFromKill: round(sinceKillSeconds),
      poolCpuMsPerWorker: round(back.cpuMs / workers),
      fleetCpuMsPerWorker: round(fleetCpuMs / workers),
      /** Sockets that did not become a session; `too_many_sockets` cost an HTTP answer, the others a handshake. */
      refused: back.refused,
      rssMB: round(back.rssBytes / 1e6),
    },
    machine: {
      cpu: os.cpus()[0]?.model ?? 'unknown',
      cores: os.availableParallelism(),
      memoryGB: Math.round(os.totalmem() / 1e9),
      system: `${os.type()} ${os.release()}`,
      node: process.version,
      /** Of the minute before the start: what other programs take. */
      loadBefore: round(loadBefore),
    },
    command: `npm run bench:sessions -- ${workers}`,
    measured: new Date().toISOString().slice(0, 10),
  }
  const { storm, machine: _, ...calm } = result
  console.table({ ...calm, ...storm })
  mkdirSync(path.join(here, 'results'), { recursive: true })
  writeFileSync(path.join(here, 'results/sessions.json'), `${JSON.stringify(result, null, 2)}\n`)
}

const round = (value: number) => Math.round(value * 100) / 100

try {
  await main()
} finally {
  for (const child of children) child.kill('SIGKILL')
}
