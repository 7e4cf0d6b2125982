import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import type { Account } from './account.ts'

/** One run of the server program. */
export interface ServerProcess {
  readonly pid: number
  /** Resolves when it accepts connections; rejects with its last words when it ended instead. */
  readonly ready: Promise<void>
  /** Resolves with how it ended: "exit code 1" or "signal SIGKILL". */
  readonly ended: Promise<string>
  /** Its last lines. */
  lastWords(): string
  kill(signal: NodeJS.Signals): void
}

const wordsMax = 12

/**
 * Starts the server in a session of its own, so that Ctrl-C in the terminal reaches only us, with a watchdog beside it
 * that asks it to stop when this process is gone, even by SIGKILL: the watchdog's standard input ends with us.
 */
export function startServer(
  account: Account,
  settings: Readonly<Record<string, string>>,
  onLine: (line: string) => void,
): ServerProcess {
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const { file, args, ...user } = account.command('postgres', ['-D', account.cluster, ...options])
  const child = spawn(file, args, {
    ...user,
    cwd: account.home,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC', ...account.binaries.env },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  })
  const words: string[] = []
  let announce: () => void = () => {}
  const accepting = new Promise<void>((resolve) => {
    announce = resolve
  })
  eachLine(child, (line) => {
    words.push(line)
    if (words.length > wordsMax) words.shift()
    onLine(line)
    if (line.includes('database system is ready to accept connections')) announce()
  })
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`))
  })
  const lastWords = () => words.join('\n')
  const ready = Promise.race([
    accepting,
    ended.then((how) => {
      throw new Error(`PostgreSQL ended with ${how}: ${lastWords()}`)
    }),
  ])
  ready.catch(() => {})
  if (child.pid !== undefined) watch(child.pid, ended)
  // nothing of it keeps this process alive: when it ends, the watchdog ends the server
  child.unref()
  if (child.stderr instanceof Socket) child.stderr.unref()
  return { pid: child.pid ?? -1, ready, ended, lastWords, kill: (signal) => void child.kill(signal) }
}

function eachLine(child: ChildProcess, onLine: (line: string) => void): void {
  let rest = ''
  child.stderr?.setEncoding('utf8')
  child.stderr?.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(0, 8_192)
    for (const line of lines) onLine(line)
  })
}

function watch(pid: number, ended: Promise<string>): void {
  const dog = spawn('/bin/sh', ['-c', 'read -r _; kill -INT "$1"', 'lichen-watchdog', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  dog.on('error', () => {})
  dog.stdin?.on('error', () => {})
  dog.unref()
  if (dog.stdin instanceof Socket) dog.stdin.unref()
  void ended.then(() => dog.kill('SIGKILL'))
}
