import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemRuntime as runtime } from '#runtime'
import { prepareDataDir, temporaryFolder } from '#testkit'
import type { DatabaseTarget } from '../address.ts'
import { openDatabase } from '../database.ts'
import { packagedBinaries } from './binaries.ts'
import { startEmbeddedPostgres } from './start.ts'

const root = process.getuid?.() === 0

/** A small disk of its own, where this machine lets us have one. */
function mountDisk(at: string, options: string): boolean {
  mkdirSync(at, { recursive: true, mode: 0o700 })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=700,${options}`, 'tmpfs', at], { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}
const remount = (at: string, options: string) => execFileSync('mount', ['-o', `remount,${options}`, at])
const unmount = (at: string) => execFileSync('umount', [at])

function machineMounts(): boolean {
  using probe = temporaryFolder()
  const can = root && mountDisk(path.join(probe.path, 'disk'), 'size=1m')
  if (can) unmount(path.join(probe.path, 'disk'))
  return can
}
const mounts = machineMounts()

function machineHasUserNamespaces(): boolean {
  try {
    const postgres = path.join(packagedBinaries(), 'bin/postgres')
    execFileSync('unshare', ['--user', '--map-user=1000', '--map-group=1000', postgres, '--version'], { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}
const namespaces = root && machineHasUserNamespaces()
const program = path.join(import.meta.dirname, '../../testkit/hold-database.ts')
const settings = { fsync: 'off' }

interface Answer {
  readonly ready: boolean
  readonly pid: number
  readonly account: string
  readonly target: DatabaseTarget
  readonly refusal: { readonly code: string; readonly message: string }
}

let folder: ReturnType<typeof temporaryFolder>
let data: string
const children: ChildProcess[] = []

beforeEach(() => {
  folder = temporaryFolder()
  data = path.join(folder.path, 'data')
})
afterEach(async () => {
  await stopped()
  await noServerLeft()
  folder[Symbol.dispose]()
})

async function hold(
  args: string[] = [data],
  command = [process.execPath, '-C', 'lichen-source', program],
): Promise<Answer> {
  const [file = '', ...rest] = [...command, ...args]
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`hold-database ended without a word (${code})`)
  })
  ended.catch(() => {})
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended])
  return JSON.parse(line)
}

/** A server's child has its command line for an instant after the fork, so a number is looked for until it is right. */
const settling = { timeout: 5_000 }

/** Servers whose cluster is in this test's folder. */
function servers(): number[] {
  const all = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  return all.filter((line) => line.includes(`-D ${folder.path}`)).map((line) => Number.parseInt(line.trim(), 10))
}

/** Ends every program of this test, as an operator would. */
async function stopped(): Promise<void> {
  const left = children.splice(0).filter((child) => child.exitCode === null && child.signalCode === null)
  const ends = left.map((child) => once(child, 'exit'))
  for (const child of left) child.kill('SIGTERM')
  await Promise.all(ends)
}

async function noServerLeft(): Promise<void> {
  for (let i = 0; i < 500 && servers().length > 0; i++) await runtime.sleep(20)
  await expect.poll(servers, settling).toEqual([])
}

async function remember(target: DatabaseTarget, text: string): Promise<void> {
  await using database = await openDatabase({ target, runtime })
  await database.sql`create table if not exists note (id text primary key)`
  await database.sql`insert into note values (${text})`
}

async function recall(target: DatabaseTarget): Promise<string[]> {
  await using database = await openDatabase({ target, runtime })
  const rows = await database.sql<{ id: string }[]>`select id from note order by id`
  return rows.map((row) => row.id)
}

const killGroup = (answer: Answer, signal: NodeJS.Signals) => process.kill(answer.pid, signal)

describe('a pool that was killed', () => {
  test('leaves no database running, and the next start has its data', async () => {
    await prepareDataDir(data)
    const first = await hold()
    await remember(first.target, 'before')
    children[0]?.kill('SIGKILL')
    await noServerLeft()
    const second = await hold()
    expect(second.ready).toBe(true)
    expect(await recall(second.target)).toEqual(['before'])
  })

  test('together with its watchdog leaves an orphan, which the next start ends first', async () => {
    await prepareDataDir(data)
    const first = await hold()
    await remember(first.target, 'before')
    const dogs = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
    const dog = dogs.find((line) => line.endsWith(`lichen-watchdog ${first.pid}`))
    process.kill(Number.parseInt(dog?.trim() ?? '', 10), 'SIGKILL')
    children[0]?.kill('SIGKILL')
    await runtime.sleep(300)
    await expect.poll(servers, settling).toEqual([first.pid])
    const second = await hold()
    await expect.poll(servers, settling).toEqual([second.pid])
    expect(await recall(second.target)).toEqual(['before'])
  })

  test('together with its database and with backends still running is recovered', async () => {
    await prepareDataDir(data)
    const first = await hold()
    await remember(first.target, 'before')
    await using database = await openDatabase({ target: first.target, runtime })
    const busy = database.sql`select pg_sleep(30)`.catch(() => {})
    await runtime.sleep(100)
    children[0]?.kill('SIGKILL')
    killGroup(first, 'SIGKILL')
    const second = await hold()
    expect(await recall(second.target)).toEqual(['before'])
    await busy
  })

  test('does not cost a stranger its life that got the number of its database', async () => {
    await prepareDataDir(data)
    const first = await hold()
    await remember(first.target, 'before')
    await stopped()
    const stranger = spawn('sleep', ['60'])
    const pidFile = path.join(data, 'postgres/postmaster.pid')
    writeFileSync(pidFile, `${stranger.pid}\n${data}/postgres\n1\n5432\n${data}/run\n\n1 1\nready\n`)
    const second = await hold()
    expect(second.ready).toBe(true)
    expect(stranger.exitCode).toBe(null)
    stranger.kill()
    expect(await recall(second.target)).toEqual(['before'])
  })

  test('while it made its first database makes it again', async () => {
    mkdirSync(path.join(data, 'postgres.new'), { recursive: true, mode: 0o700 })
    mkdirSync(path.join(data, 'postgres'), { mode: 0o700 })
    chmodSync(data, 0o700)
    writeFileSync(path.join(data, 'postgres.new/PG_VERSION'), '18\n')
    expect((await hold()).ready).toBe(true)
  })
})

describe('a start', () => {
  test('on a data directory in use is refused, and the sentence names the process', async () => {
    await prepareDataDir(data)
    await hold()
    const { refusal } = await hold()
    expect(refusal.code).toBe('data_in_use')
    expect(refusal.message).toContain(`Process ${children[0]?.pid} `)
  })

  test('at the same moment as four others wins, or is refused', async () => {
    const answers = await Promise.all(Array.from({ length: 5 }, () => hold()))
    expect(answers.filter((answer) => answer.ready)).toHaveLength(1)
    const codes = answers.filter((answer) => !answer.ready).map((answer) => answer.refusal.code)
    expect(codes).toEqual(Array(4).fill('data_in_use'))
    // A backend that was just forked still bears its postmaster's name for a moment.
    for (let i = 0; i < 100 && servers().length > 1; i++) await runtime.sleep(20)
    expect(servers()).toHaveLength(1)
  })

  test('keeps its socket and data from other users', async () => {
    const { target } = await hold()
    if ('url' in target) return expect.fail()
    expect(statSync(target.socketDir).mode & 0o777).toBe(0o700)
    expect(statSync(path.join(data, 'postgres')).mode & 0o077).toBe(0)
  })

  test('would refuse everybody who came over a network', async () => {
    await hold()
    const rules = readFileSync(path.join(data, 'postgres', 'pg_hba.conf'), 'utf8')
      .split('\n')
      .filter((line) => /^\w/.test(line))
      .map((line) => [line.split(/\s+/)[0], line.split(/\s+/).at(-1)])
    expect(new Set(rules.map((rule) => rule.join(' ')))).toEqual(new Set(['local trust', 'host reject']))
  })

  test('in a folder with a very long name still has a socket', async () => {
    const long = path.join(folder.path, 'x'.repeat(100))
    const answer = await hold([long])
    expect(answer.ready).toBe(true)
    if ('url' in answer.target) return expect.fail()
    expect(answer.target.socketDir).toMatch(/^\/tmp\/lichen-/)
    await stopped()
    for (let i = 0; i < 100 && existsSync(answer.target.socketDir); i++) await runtime.sleep(20)
    expect(existsSync(answer.target.socketDir)).toBe(false)
  })

  test('where nothing can be written says so', async () => {
    const file = path.join(folder.path, 'a-file')
    writeFileSync(file, '')
    expect((await hold([file])).refusal).toMatchObject({ code: 'config_invalid' })
    expect((await hold([path.join(file, 'below')])).refusal).toMatchObject({ code: 'config_invalid' })
    expect((await hold(['/proc/lichen'])).refusal.message).toContain('/proc/lichen cannot be written')
  })

  test.runIf(mounts)('on a full or read-only disk says so, and works again afterwards', async () => {
    mountDisk(data, 'size=80m')
    try {
      await remember((await hold()).target, 'before')
      await stopped()
      writeFileSync(path.join(data, 'full'), Buffer.alloc(2 ** 20))
      for (let i = 0; ; i++) {
        try {
          writeFileSync(path.join(data, `full-${i}`), Buffer.alloc(2 ** 20))
        } catch {
          break
        }
      }
      expect((await hold()).refusal.message).toContain('the disk is full')
      for (const name of readdirSync(data)) if (name.startsWith('full')) rmSync(path.join(data, name))
      remount(data, 'ro')
      expect((await hold()).refusal.message).toContain('the disk is read-only')
      remount(data, 'rw')
      const { target } = await hold()
      expect(await recall(target)).toEqual(['before'])
      await stopped()
    } finally {
      await stopped()
      unmount(data)
    }
  })

  test.runIf(mounts)('of the first database on a disk too small for one says why', async () => {
    mountDisk(data, 'size=12m')
    try {
      const { refusal } = await hold()
      expect(refusal).toMatchObject({ code: 'database_unavailable' })
      expect(refusal.message).toContain('No space left on device')
    } finally {
      unmount(data)
    }
  })

  test('of a database made by another PostgreSQL is refused', async () => {
    await prepareDataDir(data)
    await hold()
    await stopped()
    writeFileSync(path.join(data, 'postgres/PG_VERSION'), '16\n')
    expect((await hold()).refusal.message).toContain('was made by PostgreSQL 16')
  })

  test('that is told to stop ends, and leaves nothing', async () => {
    mkdirSync(data, { mode: 0o700 })
    const stop = new AbortController()
    const starting = startEmbeddedPostgres({
      dataDir: data,
      runtime,
      settings,
      signal: stop.signal,
      onEvent: (event) => event.kind === 'starting' && stop.abort(),
    })
    await expect(starting).rejects.toMatchObject({ refusal: { code: 'shutting_down' } })
    await noServerLeft()
  })
})

describe('a package installed without its install scripts', () => {
  /** A copy of the package without the links, and of this room to run on it. */
  function withoutLinks(): string {
    const copy = path.join(folder.path, 'native')
    cpSync(packagedBinaries(), copy, { recursive: true, verbatimSymlinks: true })
    const links = JSON.parse(readFileSync(path.join(copy, 'pg-symlinks.json'), 'utf8')) as { target: string }[]
    for (const { target } of links) rmSync(path.join(folder.path, target), { force: true })
    return copy
  }

  test.runIf(mounts || !root)(
    'gets its library links, or finds them beside the data when it is read-only',
    async () => {
      const { prepareBinaries } = await import('./binaries.ts')
      const postgres = (binaries: { root: string; env: object }) =>
        execFileSync(path.join(binaries.root, 'bin/postgres'), ['--version'], {
          stdio: 'pipe',
          env: { ...binaries.env },
          encoding: 'utf8',
        })
      const copy = withoutLinks()
      expect(() => postgres({ root: copy, env: {} })).toThrow()
      const lib = path.join(copy, 'lib')
      const side = path.join(folder.path, 'side')
      if (root) {
        mountDisk(path.join(folder.path, 'disk'), 'size=60m')
        cpSync(lib, path.join(folder.path, 'disk'), { recursive: true, verbatimSymlinks: true })
        rmSync(lib, { recursive: true })
        symlinkSync(path.join(folder.path, 'disk'), lib)
        remount(path.join(folder.path, 'disk'), 'ro')
      } else chmodSync(lib, 0o500)
      try {
        const readOnly = await prepareBinaries(copy, side)
        expect(Object.values(readOnly.env)).toEqual([side])
        expect(postgres(readOnly)).toContain('PostgreSQL')
      } finally {
        if (root) remount(path.join(folder.path, 'disk'), 'rw')
        else chmodSync(lib, 0o700)
      }
      const writable = await prepareBinaries(copy, side)
      expect(writable.env).toEqual({})
      expect(postgres(writable)).toContain('PostgreSQL')
      if (root) unmount(path.join(folder.path, 'disk'))
    },
  )
})

describe.runIf(root)('under root', () => {
  test.each(namespaces ? (['namespace', 'unprivileged'] as const) : (['unprivileged'] as const))(
    'runs as %s, and again after a kill',
    async (account) => {
      const stateRoot = path.join(folder.path, 'state')
      chmodSync(folder.path, 0o711)
      const first = await hold([data, account, stateRoot])
      expect(first.account).toBe(account)
      await remember(first.target, 'before')
      children[0]?.kill('SIGKILL')
      await noServerLeft()
      const second = await hold([data, account, stateRoot])
      expect(await recall(second.target)).toEqual(['before'])
      expect(statSync(data).mode & 0o777).toBe(0o700)
    },
  )

  test('stays unprivileged once it was, and never finds itself with two databases', async () => {
    const stateRoot = path.join(folder.path, 'state')
    chmodSync(folder.path, 0o711)
    const first = await hold([data, 'unprivileged', stateRoot])
    await remember(first.target, 'before')
    await stopped()
    const second = await hold([data])
    expect(second.account).toBe('unprivileged')
    expect(await recall(second.target)).toEqual(['before'])
  })

  test.runIf(namespaces)('with a database made in a namespace refuses to make another elsewhere', async () => {
    await hold([data, 'namespace'])
    await stopped()
    const { refusal } = await hold([data, 'unprivileged', path.join(folder.path, 'state')])
    expect(refusal.message).toContain('user namespace')
  })
})
