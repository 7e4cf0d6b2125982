import { PoolError } from '#protocol'
import { binLimits } from '../limits.ts'

/** One file in an archive. */
export interface Member {
  readonly name: string
  readonly bytes: Buffer
}

const block = 512

/** A plain file as POSIX ustar (IEEE 1003.1 pax, "ustar Interchange Format"), readable with any `tar`. Names have 99 bytes at most. */
export function tarMember({ name, bytes }: Member, mtimeMs: number): Buffer {
  const header = Buffer.alloc(block)
  if (Buffer.byteLength(name) > 99) throw new RangeError(`${name} is too long a name for a tar`)
  header.write(name, 0)
  header.write('0000600\0', 100)
  header.write('0000000\0'.repeat(2), 108)
  header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124)
  header.write(
    `${Math.floor(mtimeMs / 1_000)
      .toString(8)
      .padStart(11, '0')}\0`,
    136,
  )
  header.write(' '.repeat(8), 148)
  header.write('0', 156)
  header.write('ustar\x0000', 257)
  header.write(`${checksum(header).toString(8).padStart(6, '0')}\0 `, 148)
  return Buffer.concat([header, bytes, Buffer.alloc(padding(bytes.length))])
}

/** What an archive ends with. */
export const tarEnd = Buffer.alloc(2 * block)

const padding = (size: number) => (block - (size % block)) % block
/** Over the header with its own field as spaces. */
const checksum = (header: Buffer) => header.reduce((sum, byte, n) => sum + (n >= 148 && n < 156 ? 0x20 : byte), 0)

/** The members of an archive, one in memory at a time. @throws PoolError backup_unusable for what {@link tarMember} did not write. */
export async function* readTar(chunks: AsyncIterable<Buffer>): AsyncGenerator<Member> {
  let held: Buffer = Buffer.alloc(0)
  const source = chunks[Symbol.asyncIterator]()
  const take = async (size: number): Promise<Buffer> => {
    const parts = [held]
    let there = held.length
    while (there < size) {
      const next = await source.next()
      if (next.done) throw broken('it is cut short')
      parts.push(next.value)
      there += next.value.length
    }
    const all = parts.length === 1 ? held : Buffer.concat(parts)
    held = all.subarray(size)
    return all.subarray(0, size)
  }
  for (;;) {
    const header = await take(block)
    if (header.every((byte) => byte === 0)) return
    const text = (from: number, to: number) => header.toString('latin1', from, to).replace(/\0.*$/s, '').trim()
    const [name, size] = [text(0, 100), Number.parseInt(text(124, 136), 8)]
    const sum = Number.parseInt(text(148, 156), 8)
    if (sum !== checksum(header) || !(size >= 0)) throw broken('it is not the archive that a backup is')
    if (size > binLimits.backupMemberBytesMax) throw broken(`its member ${name} is too large`)
    const bytes = Buffer.from(await take(size))
    await take(padding(size))
    yield { name, bytes }
  }
}

const broken = (why: string) =>
  new PoolError('backup_unusable', `The backup cannot be read: ${why}.`, 'Take another backup.')
