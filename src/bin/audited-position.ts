import path from 'node:path'
import type { LogPosition } from '#log'
import type { Runtime } from '#runtime'
import { readIfThere, writePrivately } from './pool-file.ts'

const fileOf = (data: string) => path.join(data, 'audited')

/**
 * How far an audit has found everything right, as it is kept in `<data>/audited`: outside the database it is about. Undefined
 * when there is none, or the file says nothing of use: then everything is audited again.
 */
export async function readAuditedPosition(data: string): Promise<LogPosition | undefined> {
  const [, size, root] = /^(\d{1,15}) ([0-9a-f]{64})\n$/.exec((await readIfThere(fileOf(data))) ?? '') ?? []
  return size === undefined || root === undefined ? undefined : { size: Number(size), root: Buffer.from(root, 'hex') }
}

export async function writeAuditedPosition(data: string, { size, root }: LogPosition, runtime: Runtime): Promise<void> {
  await writePrivately(fileOf(data), `${size} ${root.toString('hex')}\n`, runtime)
}
