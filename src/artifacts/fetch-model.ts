import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { PoolError } from '#protocol'
import { deadlineSignal, type Runtime } from '#runtime'
import { artifactsLimits } from './limits.ts'

export interface FetchOrder {
  /** Where the file is: an address of the worker's own pool. */
  readonly url: string
  readonly ticket: string
  /** Lowercase hex sha256 that the file must have. */
  readonly digest: string
  readonly bytes: number
  /** It becomes `<folder>/<digest>.gguf`; until then `<digest>.part` beside it. */
  readonly folder: string
  /** All of it may take so long, milliseconds: no ticket is good for longer. */
  readonly msMax: number
  readonly runtime: Runtime
  readonly signal: AbortSignal
  /** Bytes it has, at most once a second. */
  readonly onProgress: (bytes: number) => void
}

/** The file under its final name, in a worker's folder of fetched models. */
export const modelPath = (folder: string, digest: string): string => path.join(folder, `${digest}.gguf`)
const partPath = (folder: string, digest: string) => path.join(folder, `${digest}.part`)

/**
 * Fetches a model file by digest, going on where it was cut, and gives its path once the bytes are what the digest says. What was
 * fetched of it stays for the next try, also when the signal aborts; bytes that are wrong, and those a full disk had no room
 * for, are deleted. @throws PoolError digest_mismatch, disk_full, pool_unreachable, and what the pool said; the signal's reason.
 */
export async function fetchModel(order: FetchOrder): Promise<string> {
  using deadline = deadlineSignal(order.runtime, order.msMax, unreachable(), order.signal)
  return await fetchInTime({ ...order, signal: deadline.signal })
}

async function fetchInTime(order: FetchOrder): Promise<string> {
  const { folder, digest, bytes, signal } = order
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const part = partPath(folder, digest)
  const has = await stat(part).then(
    ({ size }) => size,
    () => 0,
  )
  await refuseFullDisk(folder, bytes - has)
  try {
    await using file = await PartFile.open(part, order)
    await fetchAll(file, order)
    if ((await file.finish()) !== digest) throw wrongBytes()
  } catch (error) {
    if (isFull(error)) {
      await rm(part, { force: true })
      throw diskFull()
    }
    if (error instanceof PoolError && error.refusal.code === 'digest_mismatch') await rm(part, { force: true })
    else signal.throwIfAborted()
    throw error
  }
  signal.throwIfAborted()
  await rename(part, modelPath(folder, digest))
  return modelPath(folder, digest)
}

async function refuseFullDisk(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < bytes + artifactsLimits.diskSpareBytes) throw diskFull()
}

/** The bytes so far, and their hash. */
class PartFile implements AsyncDisposable {
  readonly #handle: FileHandle
  readonly #hash: Hash
  readonly #order: FetchOrder
  #size: number
  #toldAt = Number.NEGATIVE_INFINITY

  private constructor(handle: FileHandle, hash: Hash, size: number, order: FetchOrder) {
    this.#handle = handle
    this.#hash = hash
    this.#size = size
    this.#order = order
  }

  /** What an earlier try has left is read again: nobody vouches for a file that lay on a disk. */
  static async open(part: string, order: FetchOrder): Promise<PartFile> {
    const handle = await open(part, 'a+', 0o600)
    try {
      const hash = createHash('sha256')
      let size = 0
      for await (const piece of createReadStream(part, { highWaterMark: 2 ** 20, signal: order.signal })) {
        hash.update(piece as Buffer)
        size += (piece as Buffer).length
      }
      return new PartFile(handle, hash, size, order)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  get size(): number {
    return this.#size
  }

  async add(piece: Uint8Array): Promise<void> {
    if (this.#size + piece.length > this.#order.bytes) throw wrongBytes()
    await this.#handle.appendFile(piece)
    this.#hash.update(piece)
    this.#size += piece.length
    const now = this.#order.runtime.monotonic()
    if (now - this.#toldAt < artifactsLimits.progressMs) return
    this.#toldAt = now
    this.#order.onProgress(this.#size)
  }

  /** On the disk for good; its sha256. @throws PoolError digest_mismatch where somebody else has written to it, too. */
  async finish(): Promise<string> {
    await this.#handle.sync()
    if ((await this.#handle.stat()).size !== this.#size) throw wrongBytes()
    this.#order.onProgress(this.#size)
    return this.#hash.digest('hex')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}

/** Asks until everything is there; a try that brought something begins the count of fruitless ones anew. */
async function fetchAll(file: PartFile, { runtime, signal, ...order }: FetchOrder): Promise<void> {
  if (file.size > order.bytes) throw wrongBytes()
  let fruitless = 0
  while (file.size < order.bytes) {
    const before = file.size
    const pauseMs = await fetchSome(file, { runtime, signal, ...order })
    if (file.size === order.bytes) return
    fruitless = file.size > before ? 0 : fruitless + 1
    if (fruitless >= artifactsLimits.fruitlessMax) throw unreachable()
    const backoffMs = Math.min(artifactsLimits.retryMsMax, artifactsLimits.retryMsMin * 2 ** fruitless)
    await runtime.sleep(Math.max(pauseMs, backoffMs), signal)
  }
}

/** One request, as far as it goes. Milliseconds the pool wants left alone; a refusal that time does not mend is thrown. */
async function fetchSome(file: PartFile, order: FetchOrder): Promise<number> {
  const stalled = new AbortController()
  const watch = () => order.runtime.after(artifactsLimits.stalledMs, () => stalled.abort())
  let timer = watch()
  const from = file.size
  try {
    const response = await fetch(order.url, {
      headers: { authorization: `Bearer ${order.ticket}`, range: `bytes=${from}-` },
      redirect: 'error',
      signal: AbortSignal.any([order.signal, stalled.signal]),
    })
    if (response.status !== 206) return await refusedBy(response)
    if (response.headers.get('content-range') !== `bytes ${from}-${order.bytes - 1}/${order.bytes}`) throw wrongBytes()
    for await (const piece of response.body ?? []) {
      timer.cancel()
      await file.add(piece)
      timer = watch()
    }
    return 0
  } catch (error) {
    order.signal.throwIfAborted()
    if (error instanceof PoolError || isFull(error)) throw error
    return 0 // cut: the next request goes on from here
  } finally {
    timer.cancel()
  }
}

async function refusedBy(response: Response): Promise<number> {
  await response.body?.cancel()
  const seconds = Number(response.headers.get('retry-after') ?? 0)
  const later = response.status === 429 || response.status === 409 || response.status >= 500
  if (later) return Math.min(artifactsLimits.retryMsMax, (seconds > 0 ? seconds : 0) * 1_000)
  const fix = 'Nothing: the pool offers it again when it still wants it.'
  throw new PoolError('ticket_refused', `The pool did not give the file (HTTP status ${response.status}).`, fix)
}

export const isFull = (error: unknown) => ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')

const wrongBytes = () =>
  new PoolError(
    'digest_mismatch',
    'The bytes that came are not those of the model that was offered; they are deleted.',
    'Look at the pool’s model file, and at whatever stands between.',
  )

export const diskFull = () =>
  new PoolError(
    'disk_full',
    'The disk has no room for the model that was offered.',
    'Make room, or give less: --model-space.',
  )

const unreachable = () =>
  new PoolError('pool_unreachable', 'The pool stopped sending the model file.', 'Nothing: it is offered again.')
