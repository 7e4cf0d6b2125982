import { createHash } from 'node:crypto'

const domain = Buffer.from('lichen-sampler-seed/1')

/** Seed of `sampler/1` for a client's `seed`: sha256 of a domain tag and the seed as big-endian 64-bit signed integer. */
export function samplerSeed(seed: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(seed)))
  return createHash('sha256').update(domain).update(bytes).digest()
}
