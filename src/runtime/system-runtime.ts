import { randomFillSync } from 'node:crypto'
import type { Runtime } from './runtime.ts'

/** Random bytes are drawn in blocks: one system call for 128 ids instead of one each. */
const poolBytes = 4_096
const pool = Buffer.allocUnsafe(poolBytes)
let poolUsed = poolBytes

function randomBytes(n: number): Buffer {
  if (n > poolBytes / 4) return randomFillSync(Buffer.allocUnsafe(n))
  if (poolUsed + n > poolBytes) {
    randomFillSync(pool)
    poolUsed = 0
  }
  const bytes = Buffer.from(pool.subarray(poolUsed, poolUsed + n))
  pool.fill(0, poolUsed, poolUsed + n)
  poolUsed += n
  return bytes
}

/** UUIDv7, RFC 9562 §5.7: 48 bits of milliseconds, version, 12 random bits, variant, 62 random bits. */
export function uuidV7(nowMs: number, random: Buffer): string {
  const high = Math.floor(nowMs / 2 ** 16)
  put(0, high >>> 24)
  put(2, high >>> 16)
  put(4, high >>> 8)
  put(6, high)
  put(9, nowMs >>> 8)
  put(11, nowMs)
  put(14, ((random[0] ?? 0) & 0x0f) | 0x70)
  put(16, random[1] ?? 0)
  put(19, ((random[2] ?? 0) & 0x3f) | 0x80)
  put(21, random[3] ?? 0)
  for (let n = 4; n < 10; n++) put(16 + 2 * n, random[n] ?? 0)
  return spelled.toString('latin1')
}

/** A UUID as it is being spelled, hyphens in place: one call makes it text. */
const spelled = Buffer.alloc(36, '-')
const digits = Buffer.from('0123456789abcdef')

function put(at: number, byte: number): void {
  spelled[at] = digits[(byte >>> 4) & 15] as number
  spelled[at + 1] = digits[byte & 15] as number
}

/** The real world: the machine's clock, the kernel's dice. */
export const systemRuntime: Runtime = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  randomBytes,
  uuid: () => uuidV7(Date.now(), randomBytes(10)),
  after(ms, run, options) {
    const handle = setTimeout(run, ms)
    if (!options?.keepAlive) handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
  every(ms, run) {
    const handle = setInterval(run, ms)
    handle.unref()
    return { cancel: () => clearInterval(handle) }
  },
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const stop = () => {
        clearTimeout(handle)
        reject(signal?.reason)
      }
      const handle = setTimeout(() => {
        signal?.removeEventListener('abort', stop)
        resolve()
      }, ms)
      signal?.addEventListener('abort', stop, { once: true })
    })
  },
}
