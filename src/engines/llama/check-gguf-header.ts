import { open } from 'node:fs/promises'
import { PoolError } from '#protocol'

/** Real files have some hundred tensors per billion parameters, and under a hundred metadata keys. */
const tensorsMax = 1_000_000n
const keysMax = 100_000n

/**
 * Looks at the first 24 bytes: magic, version, number of tensors, number of keys. Whatever else is wrong with a file
 * the loader finds, but a wrong count keeps it reading for ever.
 */
export async function checkGgufHeader(file: string): Promise<void> {
  await using handle = await open(file)
  const header = Buffer.alloc(24)
  const { bytesRead } = await handle.read(header, 0, header.length, 0)
  const whole = bytesRead === header.length && header.toString('latin1', 0, 4) === 'GGUF'
  const version = header.readUInt32LE(4)
  const sane = header.readBigUInt64LE(8) <= tensorsMax && header.readBigUInt64LE(16) <= keysMax
  if (whole && version >= 2 && version <= 3 && sane) return
  throw new PoolError(
    'model_unreadable',
    `${file} is not a GGUF file of version 2 or 3.`,
    'Download it again, or convert the model with the scripts of llama.cpp.',
  )
}
