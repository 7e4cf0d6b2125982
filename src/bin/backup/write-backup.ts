import { createHash } from 'node:crypto'
import { createWriteStream, existsSync } from 'node:fs'
import { readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { packageVersion, type Settings } from '#config'
import { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { dumpTable, schemaOf, syncFolder, type Tx, tablesOf } from '#storage'
import { contentTable } from '#verification'
import { binLimits } from '../limits.ts'
import { openForCommand, poolKeyOf, refuseMissingFolder, refuseOtherSchema } from '../pool-database.ts'
import { type BackupHeader, type BackupManifest, keyFiles, partName, poolKeyFiles } from './format.ts'
import { type Member, tarEnd, tarMember } from './tar.ts'

/** What was written. */
export interface BackupMade {
  readonly file: string
  readonly bytes: number
  readonly pool_id: string
  readonly tables: number
  readonly rows: number
  readonly with_keys: boolean
  /** Key files of the pool that lie in its data folder; they belong into a safe. */
  readonly keys: readonly string[]
}

/**
 * `lichen backup`: one state of the whole database in one file, 0600, while the pool runs. It appears under its name when it
 * is complete. @throws PoolError conflict when the file is there, not_found, database_unavailable.
 */
export async function writeBackup(settings: Settings, target: string, withKeys: boolean): Promise<BackupMade> {
  const { data } = settings
  await refuseMissingFolder(data)
  const { id } = await poolKeyOf(data)
  const file = await fileFor(target, id)
  await using opened = await openForCommand(settings)
  await refuseOtherSchema(opened.database)
  const connection = await opened.database.connect()
  const draft = `${file}.new`
  const manifest: BackupManifest = { tables: [] }
  try {
    await connection.transaction(async (tx) => {
      await tx.unsafe(`set transaction isolation level repeatable read, read only; set local statement_timeout = 0;
                       set local idle_in_transaction_session_timeout = 0`)
      const members = membersOf(tx, { poolId: id, data, withKeys, manifest })
      const output = createWriteStream(draft, { mode: 0o600, flags: 'wx', flush: true })
      await pipeline(Readable.from(archive(members)), createGzip(), output)
    })
    await rename(draft, file)
  } catch (error) {
    await rm(draft, { force: true })
    throw notWritten(draft, error)
  } finally {
    await connection.close()
  }
  await syncFolder(path.dirname(file))
  const rows = manifest.tables.reduce((sum, table) => sum + table.rows, 0)
  const { size } = await stat(file)
  const keys = poolKeyFiles.filter((name) => existsSync(path.join(data, name)))
  return { file, bytes: size, pool_id: id, tables: manifest.tables.length, rows, with_keys: withKeys, keys }
}

/** A new file, or a name of its own in a folder. */
async function fileFor(target: string, poolId: string): Promise<string> {
  const found = await stat(target).catch(() => undefined)
  const day = new Date(systemRuntime.now())
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(':', '')
  const file = path.resolve(
    found?.isDirectory() ? path.join(target, `lichen-${poolId.slice(0, 12)}-${day}.tar.gz`) : target,
  )
  if (await stat(file).catch(() => undefined)) {
    throw new PoolError('conflict', `${file} is there already.`, 'Give another name; a backup is never written over.')
  }
  return file
}

/** The folder may be missing, full or of somebody else; whatever else went wrong is told as it is. */
function notWritten(draft: string, error: unknown): unknown {
  const { code, path: where } = error as NodeJS.ErrnoException
  if (where !== draft && code !== 'ENOSPC') return error
  const fix = 'Name a file in a folder of your own that has room.'
  return new PoolError('invalid_request', `${draft} cannot be written (${code}).`, fix)
}

interface Needs {
  readonly poolId: string
  readonly data: string
  readonly withKeys: boolean
  /** Filled on the way. */
  readonly manifest: BackupManifest
}

async function* membersOf(tx: Tx, { poolId, data, withKeys, manifest }: Needs): AsyncGenerator<Member> {
  const [latest] = await tx<{ note: string }[]>`select note from log_checkpoints order by number desc limit 1`
  const header: BackupHeader = {
    lichen: 'backup/1',
    pool_id: poolId,
    made_at: new Date(systemRuntime.now()).toISOString(),
    version: packageVersion,
    schema: [...((await schemaOf(tx)) ?? [])],
    checkpoint: latest?.note ?? null,
  }
  yield { name: 'header.json', bytes: json(header) }
  if (withKeys) yield* keysOf(data)
  for (const [place, table] of (await tablesOf(tx)).entries()) {
    yield* partsOf(table === contentTable ? [] : dumpTable(tx, table), { place, table, manifest })
  }
  yield { name: 'manifest.json', bytes: json(manifest) }
}

const json = (value: unknown) => Buffer.from(`${JSON.stringify(value, null, 1)}\n`)

/** A table in parts of a bounded size, a row a line. */
async function* partsOf(
  dumped: AsyncIterable<readonly string[]> | Iterable<readonly string[]>,
  { place, table, manifest }: { readonly place: number; readonly table: string; readonly manifest: BackupManifest },
): AsyncGenerator<Member> {
  const hash = createHash('sha256')
  const sum = { rows: 0, bytes: 0, part: 0 }
  let lines: string[] = []
  let held = 0
  const part = (): Member => {
    const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''))
    hash.update(bytes)
    sum.bytes += bytes.length
    lines = []
    held = 0
    return { name: partName(place, table, sum.part++), bytes }
  }
  for await (const rows of dumped) {
    lines.push(...rows)
    held += rows.reduce((total, row) => total + row.length, 0)
    sum.rows += rows.length
    if (held >= binLimits.backupPartBytes) yield part()
  }
  if (lines.length > 0 || sum.part === 0) yield part()
  manifest.tables.push({ name: table, rows: sum.rows, bytes: sum.bytes, sha256: hash.digest('hex') })
}

async function* keysOf(data: string): AsyncGenerator<Member> {
  for (const name of keyFiles) {
    const bytes = await readFile(path.join(data, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (bytes) yield { name: `keys/${name}`, bytes }
  }
}

async function* archive(members: AsyncIterable<Member>): AsyncGenerator<Buffer> {
  const at = systemRuntime.now()
  for await (const member of members) yield tarMember(member, at)
  yield tarEnd
}
