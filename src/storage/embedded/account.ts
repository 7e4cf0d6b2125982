import { execFile } from 'node:child_process'
import { chown, cp, lstat, mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { type Binaries, packagedBinaries, prepareBinaries } from './binaries.ts'

/**
 * Who runs the server. PostgreSQL refuses root (it would run SQL functions as root), so under root it runs
 * - `namespace`: in a user namespace where root is called by another name: files stay where they are and root's;
 * - `unprivileged`: as a user id of its own, from copies under /var/lib/lichen, where that user can reach them.
 */
export type AccountKind = 'self' | 'namespace' | 'unprivileged'

export interface Account {
  readonly kind: AccountKind
  readonly binaries: Binaries
  /** Folder the cluster, its socket and side files live in; it exists. */
  readonly home: string
  /** The cluster. */
  readonly cluster: string
  /** Command line and user to run a program of {@link binaries} with. `owned` = a folder made for initdb. */
  command(program: string, args: readonly string[]): Command
  /** Gives what was made as us to the server's user. */
  own(folder: string): Promise<void>
  /** For initdb alone, which looks its user up by name. */
  readonly init: { command: Account['command']; own: Account['own'] }
}

interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly uid?: number
  readonly gid?: number
}

/** A user id without a name or a login, below the range systemd hands out (61184–65519). */
const serverUid = 59_424

/** Where `unprivileged` keeps binaries and data. */
const defaultStateRoot = '/var/lib/lichen'

/** In the data directory: where the cluster is when it is not there. */
export const pointerFile = 'postgres.location'

const run = promisify(execFile)

export async function chooseAccount(options: {
  readonly dataDir: string
  readonly runtime: Runtime
  readonly stateRoot?: string
  /** One kind, whatever would be chosen: for tests. */
  readonly force?: AccountKind
}): Promise<Account> {
  const packaged = packagedBinaries()
  const dataDir = await realpath(options.dataDir)
  const side = path.join(dataDir, 'postgres-lib')
  const root = process.getuid?.() === 0
  const kind = options.force ?? (root ? undefined : 'self')
  if (kind === 'self') return selfAccount(await prepareBinaries(packaged, side), dataDir)
  const moved = await readFile(path.join(dataDir, pointerFile), 'utf8').catch(() => undefined)
  if (kind !== 'unprivileged' && moved === undefined) {
    const binaries = await prepareBinaries(packaged, side)
    const uid = await namedUid()
    if (await namespaceWorks(binaries, dataDir, uid)) return namespaceAccount(binaries, dataDir, uid)
    if (kind === 'namespace') throw new Error('this machine has no user namespaces for root')
  }
  if (await isFolder(path.join(dataDir, 'postgres'))) throw noNamespace(dataDir)
  return unprivilegedAccount(packaged, dataDir, moved?.trim(), options)
}

function selfAccount(binaries: Binaries, home: string): Account {
  const command = (program: string, args: readonly string[]) => ({
    file: path.join(binaries.root, 'bin', program),
    args,
  })
  const own = async () => {}
  return { kind: 'self', binaries, home, cluster: path.join(home, 'postgres'), command, own, init: { command, own } }
}

function namespaceAccount(binaries: Binaries, home: string, uid: number): Account {
  const command = (program: string, args: readonly string[]) => ({
    file: 'unshare',
    args: [...namespaceArgs(uid), path.join(binaries.root, 'bin', program), ...args],
  })
  return { ...selfAccount(binaries, home), kind: 'namespace', command, init: { command, own: async () => {} } }
}

const namespaceArgs = (uid: number) => ['--user', `--map-user=${uid}`, `--map-group=${uid}`]

/** Inside, root has lost its right to pass by permissions: can it still read the programs and write the data? */
async function namespaceWorks(binaries: Binaries, dataDir: string, uid: number): Promise<boolean> {
  const probe = 'test -w "$1" && exec "$2" --version'
  const postgres = path.join(binaries.root, 'bin/postgres')
  try {
    await run('unshare', [...namespaceArgs(uid), 'sh', '-c', probe, 'sh', dataDir, postgres], {
      timeout: 10_000,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...binaries.env },
    })
    return true
  } catch {
    return false
  }
}

/** An unprivileged user that has a name: initdb insists on one. */
async function namedUid(): Promise<number> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const users = passwd.split('\n').map((line) => line.split(':'))
  const nobody = users.find(([name]) => name === 'nobody') ?? users.find(([, , uid]) => Number(uid) > 0)
  return nobody ? Number(nobody[2]) : 65_534
}

async function unprivilegedAccount(
  packaged: string,
  dataDir: string,
  moved: string | undefined,
  options: { readonly runtime: Runtime; readonly stateRoot?: string },
): Promise<Account> {
  const stateRoot = moved === undefined ? (options.stateRoot ?? defaultStateRoot) : path.dirname(moved)
  // never one that is there already: it may belong to a data directory that was deleted
  const home = moved ?? path.join(stateRoot, options.runtime.uuid())
  try {
    await mkdir(stateRoot, { recursive: true, mode: 0o755 })
    const binaries = await copyBinaries(packaged, stateRoot, options.runtime)
    await mkdir(home, { recursive: true, mode: 0o711 })
    await writeFile(path.join(dataDir, pointerFile), `${home}\n`, { mode: 0o600 })
    const as = (uid: number): Account['init'] => ({
      command: (program, args) => ({ file: path.join(binaries.root, 'bin', program), args, uid, gid: uid }),
      own: (folder) => chownTree(folder, uid),
    })
    return {
      kind: 'unprivileged',
      binaries,
      home,
      cluster: path.join(home, 'postgres'),
      ...as(serverUid),
      init: as(await namedUid()),
    }
  } catch (error) {
    throw new PoolError(
      'config_invalid',
      `PostgreSQL does not run as root, and no place could be made for it in ${stateRoot} (${String(error)}).`,
      'Start as an ordinary user, or give DATABASE_URL of a PostgreSQL 15 or newer.',
    )
  }
}

/** One copy per version of the package, complete or not there at all. */
async function copyBinaries(packaged: string, stateRoot: string, runtime: Runtime): Promise<Binaries> {
  const about = JSON.parse(await readFile(path.join(packaged, '../package.json'), 'utf8')) as { version: string }
  const target = path.join(stateRoot, `postgresql-${about.version}`, 'native')
  if (!(await isFolder(target))) {
    const draft = path.join(stateRoot, `draft-${runtime.uuid()}`)
    await cp(packaged, draft, { recursive: true, verbatimSymlinks: true })
    await mkdir(path.dirname(target), { recursive: true, mode: 0o755 })
    await rename(draft, target).catch(async (error: unknown) => {
      await rm(draft, { recursive: true, force: true })
      if (!(await isFolder(target))) throw error
    })
  }
  return prepareBinaries(target, path.join(stateRoot, 'postgres-lib'))
}

async function chownTree(target: string, uid: number): Promise<void> {
  await chown(target, uid, uid)
  if (!(await isFolder(target))) return
  for (const entry of await readdir(target)) await chownTree(path.join(target, entry), uid)
}

const isFolder = (target: string) =>
  lstat(target).then(
    (found) => found.isDirectory(),
    () => false,
  )

function noNamespace(dataDir: string): PoolError {
  return new PoolError(
    'config_invalid',
    `The database in ${dataDir} was made by root in a user namespace, and this machine gives none.`,
    'Allow user namespaces, start where they are allowed, or give another folder with --data.',
  )
}
