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
  const b = Buffer.allocUnsafe(16)
  b.writeUIntBE(nowMs, 0, 6)
  random.copy(b, 6, 0, 10)
  b[6] = ((b[6] ?? 0) & 0x0f) | 0x70
  b[8] = ((b[8] ?? 0) & 0x3f) | 0x80
  const h = b.toString('hex')
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`
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
