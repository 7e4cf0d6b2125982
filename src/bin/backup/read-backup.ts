import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { z } from 'zod'
import { PoolError } from '#protocol'
import { type BackupHeader, headerSchema, manifestSchema, tableOfPart } from './format.ts'
import { type Member, readTar } from './tar.ts'

/** A backup that is read from front to back, once. */
export interface OpenBackup {
  readonly header: BackupHeader
  /** Key files by name; empty when it was made without. */
  readonly keys: ReadonlyMap<string, Buffer>
  /** Rows, table by table; ends only when the manifest was there and everything is as it says. */
  readonly rows: AsyncIterable<{ readonly table: string; readonly lines: readonly string[] }>
}

/** @throws PoolError backup_unusable, also while the rows are read. */
export async function openBackup(file: string): Promise<OpenBackup> {
  const members = membersOf(file)
  const first = await members.next()
  if (first.done || first.value.name !== 'header.json') throw unusable(`${file} is no backup of a pool`)
  const header = parsed(first.value, headerSchema)
  const keys = new Map<string, Buffer>()
  let next = await members.next()
  for (; !next.done && next.value.name.startsWith('keys/'); next = await members.next()) {
    keys.set(next.value.name.slice('keys/'.length), next.value.bytes)
  }
  return { header, keys, rows: rowsOf(next, members) }
}

/** A gzip stream that ends early or is none says so as an error of zlib. */
async function* membersOf(file: string): AsyncGenerator<Member> {
  const source = createReadStream(file)
  const plain = createGunzip()
  // an error reaches whoever reads `plain`
  pipeline(source, plain, () => {})
  try {
    yield* readTar(plain)
  } catch (error) {
    if (error instanceof PoolError) throw error
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EISDIR') {
      throw new PoolError(
        'invalid_request',
        `${file} cannot be read (${code}).`,
        'Give the file that `lichen backup` wrote.',
      )
    }
    throw unusable(`it is damaged (${code || String(error)})`)
  } finally {
    source.destroy()
  }
}

async function* rowsOf(first: IteratorResult<Member, void>, members: AsyncGenerator<Member, void>) {
  const found = new Map<string, { hash: Hash; rows: number; bytes: number }>()
  for (let next = first; !next.done; next = await members.next()) {
    const { name, bytes } = next.value
    if (name === 'manifest.json') return refuseOther(parsed(next.value, manifestSchema), found)
    const table = tableOfPart(name)
    if (table === undefined) throw unusable(`nobody here knows its member ${name}`)
    const lines = bytes.toString().split('\n').slice(0, -1)
    const sum = found.get(table) ?? { hash: createHash('sha256'), rows: 0, bytes: 0 }
    sum.hash.update(bytes)
    found.set(table, { hash: sum.hash, rows: sum.rows + lines.length, bytes: sum.bytes + bytes.length })
    if (lines.length > 0) yield { table, lines }
  }
  throw unusable('its manifest is missing: it is cut short')
}

function refuseOther(
  { tables }: z.infer<typeof manifestSchema>,
  found: ReadonlyMap<string, { hash: Hash; rows: number; bytes: number }>,
): void {
  for (const { name, rows, bytes, sha256 } of tables) {
    const there = found.get(name)
    const same = there?.rows === rows && there.bytes === bytes && there.hash.digest('hex') === sha256
    if (!same) throw unusable(`the rows of ${name} are not those its manifest lists`)
  }
  if (tables.length !== found.size) throw unusable('it holds tables that its manifest does not list')
}

function parsed<T>({ name, bytes }: Member, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(bytes.toString()))
  } catch {
    throw unusable(`its ${name} says what nobody here understands`)
  }
}

const unusable = (why: string) =>
  new PoolError('backup_unusable', `The backup cannot be restored: ${why}.`, 'Take another backup.')
