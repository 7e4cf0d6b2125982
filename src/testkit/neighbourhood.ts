import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import OpenAI from 'openai'
import type { CheatingWorkerPlan } from './cheating-worker.ts'
import { sharedFolder } from './shared.ts'
import { prepareDataDir } from './test-server.ts'

const root = path.resolve(import.meta.dirname, '../..')
/** Lichen's commands: installed for this run of the tests, else those of this clone. */
export const lichenBin = path.join(sharedFolder() ?? root, sharedFolder() ? 'lichen/bin/lichen' : 'bin/lichen')
export const demoModelPath = path.join(root, 'models/lichen-demo.gguf')

/** Environment of a program under test: no setting of the developer's own machine leaks in. */
function cleanEnv(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(LICHEN_|DATABASE_URL|npm_|NODE_OPTIONS|VITEST)/.test(name),
  )
  return { ...Object.fromEntries(kept), NO_COLOR: '1', ...extra }
}

/** Every process below `pid`, itself included. */
export function processTree(pid: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
      children.set(parent, [...(children.get(parent) ?? []), Number(name)])
    } catch {
      // It ended while we looked.
    }
  }
  const below = (one: number): number[] => [one, ...(children.get(one) ?? []).flatMap(below)]
  return below(pid)
}

export const isAlive = (pid: number) => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Asks until `look` gives something, or fails with what was awaited: late, for on a busy machine all comes late. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  ms = 90_000,
): Promise<T> {
  const until = Date.now() + ms
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > until) throw new Error(`waited ${ms} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

/** A worker loads its model before it dials, which takes its time on a busy machine. */
const joinMsMax = 120_000

/** One program of ours as a real process. */
export class Program {
  readonly child: ChildProcess
  readonly ended: Promise<number>
  stderr = ''
  readonly stdout: string[] = []

  constructor(args: string[], env: Record<string, string> = {}, program = lichenBin) {
    this.child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: cleanEnv(env), cwd: os.tmpdir() })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    if (this.child.stdout)
      readline.createInterface({ input: this.child.stdout }).on('line', (line) => this.stdout.push(line))
    this.ended = new Promise((resolve) =>
      this.child.once('exit', (code, signal) => resolve(code ?? (signal ? 128 : 1))),
    )
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** First line of stdout, parsed. */
  async firstLine(): Promise<Record<string, unknown>> {
    const line = await eventually(
      `a line of ${this.child.spawnargs.join(' ')}`,
      () => {
        if (this.stdout[0] !== undefined) return this.stdout[0]
        if (!this.running) throw new Error(`it ended: ${this.stderr}`)
        return undefined
      },
      90_000,
    )
    return JSON.parse(line)
  }

  signal(name: NodeJS.Signals): void {
    if (this.running) this.child.kill(name)
  }

  /** SIGKILL to the program and everything below it: the power went out. */
  async crash(): Promise<void> {
    const all = processTree(this.pid)
    for (const pid of all) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // Already gone.
      }
    }
    await this.ended
  }

  /** SIGTERM, then patience, then force. */
  async stop(): Promise<number> {
    const all = processTree(this.pid)
    this.signal('SIGTERM')
    const forced = setTimeout(() => {
      for (const pid of all) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
    }, 20_000)
    const code = await this.ended
    clearTimeout(forced)
    return code
  }
}

export interface AdminWorker {
  id: string
  standing: string
  connected: boolean
  active: number
  [more: string]: unknown
}

/** A pool with its own data directory, and workers that join it, all real processes on loopback. */
export class Neighbourhood implements AsyncDisposable {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-test-'))
  readonly programs: Program[] = []
  pool: Program | undefined
  url = ''
  apiKey = ''
  #workers = 0
  #adminKey: Promise<{ file: string; public_key: string }> | undefined

  get dataDir(): string {
    return path.join(this.folder, 'pool')
  }

  /**
   * Starts `up` (with a local worker) or `pool` (without), on a free port or the port it had; the first time on a
   * prepared database, unless its data folder is there.
   */
  async start(
    command: 'up' | 'pool' = 'pool',
    args: string[] = [],
    env: Record<string, string> = {},
  ): Promise<Program> {
    const port = this.url ? new URL(this.url).port : '0'
    if (!existsSync(this.dataDir)) await prepareDataDir(this.dataDir)
    const program = this.run([command, '--json', '--port', port, '--data', this.dataDir, ...args], env)
    const ready = await program.firstLine()
    this.pool = program
    this.url = String(ready.url)
    if (ready.api_key) this.apiKey = String(ready.api_key)
    return program
  }

  run(args: string[], env: Record<string, string> = {}): Program {
    const program = new Program(args, env)
    this.programs.push(program)
    return program
  }

  client(options: { apiKey?: string; maxRetries?: number; timeout?: number } = {}): OpenAI {
    return new OpenAI({ baseURL: `${this.url}/v1`, apiKey: this.apiKey, maxRetries: 0, timeout: 60_000, ...options })
  }

  /** Runs a command to its end and parses its JSON. */
  async cli(...args: string[]): Promise<{ code: number; out: string; err: string; json: unknown }> {
    return new Promise((resolve) => {
      execFile(
        lichenBin,
        [...args, '--data', this.dataDir],
        { env: cleanEnv(), cwd: os.tmpdir(), timeout: 60_000 },
        (error, out, err) => {
          let json: unknown
          try {
            json = JSON.parse(out)
          } catch {
            json = undefined
          }
          resolve({ code: error ? Number(error.code ?? 1) : 0, out, err, json })
        },
      )
    })
  }

  async admin<T = Record<string, unknown>>(
    method: 'GET' | 'POST' | 'DELETE',
    route: string,
    body?: object,
  ): Promise<T> {
    const owner = readFileSync(path.join(this.dataDir, 'owner.key'), 'utf8').trim()
    const response = await fetch(`${this.url}/v1/admin${route}`, {
      method,
      headers: { authorization: `Bearer ${owner}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    })
    if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${await response.text()}`)
    return response.json() as Promise<T>
  }

  /** The key of its admin, made once, on a machine that is not the pool's. */
  async adminKey(): Promise<{ file: string; public_key: string }> {
    this.#adminKey ??= this.cli('admin-key', 'new', 'ada', '--file', path.join(this.folder, 'ada.key'), '--json').then(
      ({ code, err, json }) => {
        if (code !== 0) throw new Error(err)
        return json as { file: string; public_key: string }
      },
    )
    return this.#adminKey
  }

  /** Its human promotes another pool to a bond, knowing the key of an admin there. */
  async bond(id: string, theirAdmin: string, level = 3): Promise<void> {
    const { file } = await this.adminKey()
    for (const args of [
      ['admin-keys', 'add', id, 'theirs', theirAdmin],
      ['promote', id, String(level), '--file', file],
    ]) {
      const { code, err } = await this.cli('fed', ...args)
      if (code !== 0) throw new Error(`lichen fed ${args.join(' ')}: ${err}`)
    }
  }

  async workers(): Promise<AdminWorker[]> {
    return (await this.admin<{ data: AdminWorker[] }>('GET', '/workers')).data
  }

  /** Invites, joins, approves and waits until the pool may use the new worker. */
  async join(
    operator: string,
    args: string[] = ['--model', demoModelPath],
    env: Record<string, string> = {},
  ): Promise<{ program: Program; id: string; dataDir: string }> {
    return this.#admit(operator, (invite, dataDir) =>
      this.run(['worker', 'join', invite, '--json', ...args, '--data', dataDir], env),
    )
  }

  /** The same with a worker that cheats, or is honest with an engine of choice. */
  async joinCheat(
    operator: string,
    plan: Omit<CheatingWorkerPlan, 'invite' | 'dataDir'>,
  ): ReturnType<Neighbourhood['join']> {
    return this.#admit(operator, (invite, dataDir) => {
      const program = path.join(root, 'src/testkit/cheating-worker.ts')
      const folder = path.join(dataDir, 'worker')
      const args = ['-C', 'lichen-source', program, JSON.stringify({ ...plan, invite, dataDir: folder })]
      const worker = new Program(args, {}, process.execPath)
      this.programs.push(worker)
      return worker
    })
  }

  async #admit(
    operator: string,
    start: (invite: string, dataDir: string) => Program,
  ): Promise<{ program: Program; id: string; dataDir: string }> {
    const { invite } = (await this.cli('invite', '--operator', operator, '--json')).json as { invite: string }
    const dataDir = path.join(this.folder, `worker-${++this.#workers}`)
    const before = new Set((await this.workers()).map((worker) => worker.id))
    const program = start(invite, dataDir)
    const fresh = await eventually(
      `${operator}'s worker to ask for approval`,
      async () => {
        if (!program.running) throw new Error(`the worker ended: ${program.stderr}`)
        return (await this.workers()).find((worker) => !before.has(worker.id))
      },
      joinMsMax,
    )
    await this.admin('POST', `/workers/${fresh.id}/approve`)
    await eventually(
      `${operator}'s worker to be ready`,
      async () => {
        const worker = (await this.workers()).find((one) => one.id === fresh.id)
        return worker?.standing === 'approved' && worker.connected && (await fetch(`${this.url}/readyz`)).ok
      },
      joinMsMax,
    )
    return { program, id: fresh.id, dataDir }
  }

  /** Ends all its programs. The data folders stay. */
  async stop(): Promise<void> {
    await Promise.all(this.programs.splice(0).map((program) => program.stop()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    if (existsSync(this.folder)) rmSync(this.folder, { recursive: true, force: true })
  }
}
