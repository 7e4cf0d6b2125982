import { cpSync, existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { systemRuntime } from '#runtime'
import { type DatabaseTarget, migrate, openDatabase, readMigrations, startEmbeddedPostgres } from '#storage'
import { askBroker } from './shared.ts'

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
    await removeDataDir(folder)
  }
  try {
    return { admin: server.target, template: await makeTemplate(server.target), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function removeDataDir(folder: string): Promise<void> {
  // under root without a usable user namespace the cluster is elsewhere
  const elsewhere = await readFile(path.join(folder, 'postgres.location'), 'utf8').catch(() => '')
  for (const place of [elsewhere.trim(), folder]) if (place) await rm(place, { recursive: true, force: true })
}

/** The files of an embedded server that is migrated, empty and stopped; no `files` where it keeps them elsewhere. */
export async function makeCluster(folder: string): Promise<{ files?: string; remove(): Promise<void> }> {
  await mkdir(folder, { mode: 0o700 })
  const remove = () => removeDataDir(folder)
  {
    await using server = await startEmbeddedPostgres({
      dataDir: folder,
      runtime: systemRuntime,
      settings: { fsync: 'off' },
    })
    await using database = await openDatabase({ target: server.target, runtime: systemRuntime })
    await migrate(database, await readMigrations(migrationsFolder))
  }
  const files = path.join(folder, 'postgres')
  return existsSync(files) ? { files, remove } : { remove }
}

/** Gives a new data folder a database that a first start would make in some seconds; outside a run it does nothing. */
export async function prepareDataDir(dataDir: string): Promise<void> {
  const cluster = await askBroker<{ files?: string }>('cluster')
  if (cluster?.files === undefined) return
  const files = path.join(dataDir, 'postgres')
  await mkdir(files, { recursive: true, mode: 0o700 })
  cpSync(cluster.files, files, { recursive: true })
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
