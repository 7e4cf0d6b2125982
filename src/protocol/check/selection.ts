import { ShortHmac, sha256 } from '#crypto'

const keyDomain = Buffer.from('lichen/epoch-key/1')
const samplingDomain = Buffer.from('lichen/sampling/1\n')
const words = 1n << 64n

/** What a pool publishes before an epoch: sha256(`lichen/epoch-key/1` ‖ key). It binds, and hides 32 random bytes. */
export function epochCommitment(key: Buffer): Buffer {
  if (key.length !== 32) throw new TypeError('an epoch key has 32 bytes')
  return sha256(keyDomain, key)
}

/** Bytes of {@link SamplingOpening} as one: u64 epoch ‖ commitment to its key ‖ root of the check rates ‖ salt. */
export const samplingOpeningBytes = 104

/** By what an answer is sampled: fixed when its order is accepted, told a day after its epoch. */
export interface SamplingOpening {
  readonly epoch: number
  /** {@link epochCommitment}. */
  readonly key: Buffer
  /** Of the tree of check rates in force. */
  readonly rates: Buffer
  readonly salt: Buffer
}

export function encodeSamplingOpening({ epoch, key, rates, salt }: SamplingOpening): Buffer {
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(BigInt(epoch))
  return Buffer.concat([number, key, rates, salt])
}

export function decodeSamplingOpening(bytes: Buffer): SamplingOpening {
  if (bytes.length !== samplingOpeningBytes) throw new TypeError('the opening of a sampling has 104 bytes')
  const at = (from: number) => bytes.subarray(from, from + 32)
  return { epoch: Number(bytes.readBigUInt64BE()), key: at(8), rates: at(40), salt: at(72) }
}

/** What the leaf of an order commits to: sha256(`lichen/sampling/1\n` ‖ opening). */
export const samplingCommitment = (opening: Buffer): Buffer => sha256(samplingDomain, opening)

/** `lichen/order/1\n ‖ hash of the order ‖ commitment to its sampling, if there is one`: leaf data of an order. */
export function orderLeafData(hash: Buffer, sampling: Buffer | undefined): Buffer {
  return Buffer.concat(sampling ? [orderTag, hash, sampling] : [orderTag, hash])
}
const orderTag = Buffer.from('lichen/order/1\n')

/** `lichen/rate/1\n ‖ 32 bytes worker ‖ u32 parts per million ‖ model`: leaf data in the tree of check rates. */
export function rateLeafData(worker: Buffer, model: string, ppm: number): Buffer {
  const rate = Buffer.alloc(4)
  rate.writeUInt32BE(ppm)
  return Buffer.concat([Buffer.from('lichen/rate/1\n'), worker, rate, Buffer.from(model)])
}

/** Made once for each epoch's key. */
const prfs = new WeakMap<Buffer, ShortHmac>()

function prfOf(key: Buffer): ShortHmac {
  const known = prfs.get(key)
  if (known) return known
  const prf = new ShortHmac(key)
  prfs.set(key, prf)
  return prf
}

const labels = new Map(['select', 'verifier', 'position', 'canary'].map((label) => [label, Buffer.from(label)]))
const noBlock = Buffer.alloc(0)

/** HMAC-SHA256(key, label ‖ statement hash ‖ u32 block, for a block above 0); RFC 2104. */
export function selectionPrf(key: Buffer, label: string, statementHash: Buffer, block = 0): Buffer {
  if (key.length !== 32 || statementHash.length !== 32) throw new TypeError('key and hash have 32 bytes')
  let counter = noBlock
  if (block > 0) {
    counter = Buffer.alloc(4)
    counter.writeUInt32BE(block)
  }
  return prfOf(key).digest(labels.get(label) ?? Buffer.from(label), statementHash, counter)
}

/**
 * Whether a statement is checked: the first 8 bytes (big-endian) of HMAC-SHA256(key, `select` ‖ statement hash) are below
 * ⌊q · 2⁶⁴ / 10⁶⌋. The worker has signed before anybody outside the pool can know; once the key is revealed everybody can
 * decide again. `qPpm` is a whole number, 0 (never) … 1,000,000 (always).
 */
export function selects(sample: {
  readonly epochKey: Buffer
  /** sha256 of the bytes of the worker's statement, without its signature. */
  readonly statementHash: Buffer
  readonly qPpm: number
}): boolean {
  const { epochKey, statementHash, qPpm } = sample
  if (!Number.isInteger(qPpm) || qPpm < 0 || qPpm > 1_000_000)
    throw new TypeError('a check rate is 0 to 1,000,000 parts per million')
  return selectionPrf(epochKey, 'select', statementHash).readBigUInt64BE(0) < (BigInt(qPpm) * words) / 1_000_000n
}
