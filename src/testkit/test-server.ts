import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { systemRuntime } from '#runtime'
import { type DatabaseTarget, migrate, openDatabase, readMigrations, startEmbeddedPostgres } from '#storage'

/** A server for a run of tests: yours (`LICHEN_TEST_DATABASE_URL`), or an embedded one with an empty template. */
export interface TestServer {
  /** The database to connect to for `create database`. */
  readonly admin: DatabaseTarget
  /** A database with every migration applied; copied, never used. */
  readonly template: string
  stop(): Promise<void>
}

const folderPrefix = 'lichen-test-pg-'
const migrationsFolder = path.join(import.meta.dirname, '../../migrations')

export async function startTestServer(): Promise<TestServer> {
  const external = process.env.LICHEN_TEST_DATABASE_URL
  return external ? externalServer({ url: external }) : embeddedServer()
}

/** The same target, another database. */
export function withDatabase(target: DatabaseTarget, name: string): DatabaseTarget {
  if (!('url' in target)) return { ...target, database: name }
  const url = new URL(target.url)
  url.pathname = `/${name}`
  return { url: url.href }
}

export function urlOf(target: DatabaseTarget): string {
  if ('url' in target) return target.url
  return `postgres://${target.user}@localhost/${target.database}?host=${encodeURIComponent(target.socketDir)}&port=${target.port}`
}

/** fsync is off: the tests kill processes, not the machine, and what the kernel holds survives those. */
async function embeddedServer(): Promise<TestServer> {
  await removeDeadFolders()
  const folder = await mkdtemp(path.join(os.tmpdir(), `${folderPrefix}${process.pid}-`))
  const server = await startEmbeddedPostgres({
    dataDir: folder,
    runtime: systemRuntime,
    settings: { fsync: 'off', full_page_writes: 'off', max_connections: '200' },
  })
  const stop = async () => {
    await server.stop()
    // under root without a usable user namespace the cluster is elsewhere
    const elsewhere = await readFile(path.join(folder, 'postgres.location'), 'utf8').catch(() => '')
    for (const place of [elsewhere.trim(), folder]) if (place) await rm(place, { recursive: true, force: true })
  }
  try {
    return { admin: server.target, template: await makeTemplate(server.target), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function externalServer(admin: DatabaseTarget): Promise<TestServer> {
  const template = await makeTemplate(admin)
  return {
    admin,
    template,
    async stop() {
      await using database = await openDatabase({ target: admin, runtime: systemRuntime })
      await database.sql.unsafe(`drop database if exists ${template}`)
    },
  }
}

async function makeTemplate(admin: DatabaseTarget): Promise<string> {
  const template = `lichen_template_${process.pid}_${Date.now().toString(36)}`
  await using server = await openDatabase({ target: admin, runtime: systemRuntime })
  await server.sql.unsafe(`create database ${template}`)
  await using database = await openDatabase({ target: withDatabase(admin, template), runtime: systemRuntime })
  await migrate(database, await readMigrations(migrationsFolder))
  return template
}

/** What a killed run left in the temporary folder. Its server ended with it. */
async function removeDeadFolders(): Promise<void> {
  for (const name of await readdir(os.tmpdir())) {
    const pid = Number(name.startsWith(folderPrefix) ? name.slice(folderPrefix.length).split('-')[0] : Number.NaN)
    if (Number.isNaN(pid) || isAlive(pid)) continue
    await rm(path.join(os.tmpdir(), name), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
