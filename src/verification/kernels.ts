import { sha256 } from '#crypto'
import { PoolError } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { sortIntoClasses } from './kernel-classes.ts'
import { verificationLimits } from './limits.ts'

/** What is read of a connected worker. */
export interface MeasurableWorker {
  readonly id: string
  readonly features: readonly string[]
  readonly draining: boolean
  readonly offers: readonly {
    readonly name: string
    readonly digest: string | null
    readonly contextTokens: number
    readonly features: readonly string[]
  }[]
}

/** What a worker is asked. */
export interface Measurement {
  readonly model: string
  readonly digest: string
  readonly text: string
  readonly deadlineMs: number
}

export interface KernelsOptions {
  readonly runtime: Runtime
  /** Has a worker compute a text: the hash of its logits. */
  measure(worker: string, ask: Measurement, signal: AbortSignal): Promise<string>
  /** Tells a worker what it was found to be; null: it is of no class that is known. */
  tell(worker: string, model: string, kernel: string | null): void
}

/** One worker with one model file. */
interface Entry {
  readonly worker: string
  readonly name: string
  readonly contextTokens: number
  kernel: string | undefined
  /** Measured again then, on the monotonic clock. */
  dueAt: number
  failures: number
}

const { kernelClassesMax, kernelGatherMs, kernelMeasureMsMax, kernelRoundMax, kernelSweepMs } = verificationLimits
const { kernelAgainMsMean, kernelRetryMsMin, kernelTextChars } = verificationLimits

/**
 * Who computes to the same last bit as whom: the kernel classes of the workers that are connected, by model file. Measured when a
 * worker comes, and again at random; kept in memory only, since a worker that returns is measured anew.
 *
 *   unknown ──round──▶ of a class ──a round at random──▶ of a class       a failed measurement keeps the class and is repeated
 *
 * A round gives one fresh text to those who are due and to one member of every class, so that an answer that was given before, or to
 * another text, is of no use. Where nobody else has the file there is nothing to compare, and nothing is measured.
 */
export class Kernels implements Disposable {
  readonly #options: KernelsOptions
  readonly #files = new Map<string, Map<string, Entry>>()
  /** Files with a round under way. */
  readonly #busy = new Set<string>()
  readonly #sweeper: Timer
  readonly #closing = new AbortController()

  constructor(options: KernelsOptions) {
    this.#options = options
    this.#sweeper = options.runtime.every(kernelSweepMs, () => this.#sweep())
  }

  /** A worker came, or what it offers changed. Files it had before keep their class. */
  put(worker: MeasurableWorker): void {
    const measurable = worker.features.includes('verify') && !worker.draining
    const offers = new Map(worker.offers.filter(answers).map((offer) => [offer.digest ?? '', offer]))
    for (const [digest, entries] of this.#files) {
      if (!offers.has(digest) || !measurable) this.#forget(digest, entries, worker.id)
    }
    if (!measurable) return
    for (const [digest, { name, contextTokens }] of offers) {
      const entries = this.#files.get(digest) ?? new Map<string, Entry>()
      const known = entries.get(worker.id)
      const soon = this.#options.runtime.monotonic() + kernelGatherMs
      const { kernel, dueAt, failures } = known ?? { kernel: undefined, dueAt: soon, failures: 0 }
      if (known?.kernel !== undefined && known.name !== name) this.#options.tell(worker.id, name, known.kernel)
      entries.set(worker.id, { worker: worker.id, name, contextTokens, kernel, dueAt, failures })
      this.#files.set(digest, entries)
    }
  }

  remove(worker: string): void {
    for (const [digest, entries] of this.#files) this.#forget(digest, entries, worker)
  }

  /** The class of a connected worker with a model file; undefined as long as none was measured. */
  of(worker: string, digest: string): string | undefined {
    return this.#files.get(digest)?.get(worker)?.kernel
  }

  [Symbol.dispose](): void {
    this.#sweeper.cancel()
    this.#closing.abort(new Error('the pool is shutting down'))
  }

  #forget(digest: string, entries: Map<string, Entry>, worker: string): void {
    entries.delete(worker)
    if (entries.size === 0) this.#files.delete(digest)
  }

  #sweep(): void {
    const now = this.#options.runtime.monotonic()
    for (const [digest, entries] of this.#files) {
      if (entries.size < 2 || this.#busy.has(digest)) continue
      const due = [...entries.values()].filter(({ dueAt }) => dueAt <= now).slice(0, kernelRoundMax)
      if (due.length > 0) void this.#round(digest, entries, due)
    }
  }

  async #round(digest: string, entries: Map<string, Entry>, due: readonly Entry[]): Promise<void> {
    this.#busy.add(digest)
    try {
      const those = [...due, ...this.#representatives(entries, due)]
      // Nobody to compare with as yet: the others are measured in their own time.
      if (those.length < 2) {
        this.#later(due)
        return
      }
      const text = this.#freshText(Math.min(...those.map(({ contextTokens }) => contextTokens)))
      const hashes = await Promise.all(those.map((entry) => this.#measure(digest, entry, text)))
      this.#conclude(entries, those, hashes, text)
    } finally {
      this.#busy.delete(digest)
    }
  }

  /** The hash, or undefined when the worker could not say. */
  async #measure(digest: string, entry: Entry, text: string): Promise<string | undefined> {
    const { runtime, measure } = this.#options
    const ask = { model: entry.name, digest, text, deadlineMs: kernelMeasureMsMax }
    try {
      const hash = await measure(entry.worker, ask, this.#closing.signal)
      entry.failures = 0
      entry.dueAt = runtime.monotonic() + this.#atRandom(kernelAgainMsMean)
      return hash
    } catch (error) {
      const never = error instanceof PoolError && error.code === 'unsupported_parameter'
      const waitMs = Math.min(kernelAgainMsMean, kernelRetryMsMin * 2 ** entry.failures++)
      entry.dueAt = never ? Number.POSITIVE_INFINITY : runtime.monotonic() + this.#atRandom(waitMs)
      return undefined
    }
  }

  #conclude(
    entries: ReadonlyMap<string, Entry>,
    those: readonly Entry[],
    hashes: readonly (string | undefined)[],
    text: string,
  ): void {
    const measured = those.flatMap(({ worker, kernel }, n) => {
      const hash = hashes[n]
      return hash === undefined ? [] : [{ worker, hash, before: kernel }]
    })
    // One alone agrees with nobody and differs from nobody.
    if (measured.length < 2) {
      this.#later(those.filter(({ failures, kernel }) => failures === 0 && kernel === undefined))
      return
    }
    const of = sha256(Buffer.from(text)).toString('hex').slice(0, 16)
    const classes = sortIntoClasses(measured, (hash) => `${of}-${hash.slice(0, 16)}`)
    for (const [worker, kernel] of classes) {
      const entry = entries.get(worker)
      if (!entry || entry.kernel === kernel) continue
      entry.kernel = kernel
      this.#options.tell(worker, entry.name, kernel)
    }
  }

  /** One of every class, at random, the largest classes first; and one who has none when there is no other. */
  #representatives(entries: ReadonlyMap<string, Entry>, due: readonly Entry[]): Entry[] {
    const others = [...entries.values()].filter((entry) => !due.includes(entry) && Number.isFinite(entry.dueAt))
    const classes = Object.groupBy(
      others.filter(({ kernel }) => kernel !== undefined),
      ({ kernel }) => kernel ?? '',
    )
    const chosen = Object.values(classes)
      .map((members = []) => members)
      .sort((a, b) => b.length - a.length)
      .slice(0, kernelClassesMax)
      .flatMap((members) => this.#oneOf(members) ?? [])
    return chosen.length > 0 || due.length > 1 ? chosen : others.slice(0, 1)
  }

  #later(due: readonly Entry[]): void {
    for (const entry of due) entry.dueAt = this.#options.runtime.monotonic() + this.#atRandom(kernelRetryMsMin)
  }

  #oneOf<T>(all: readonly T[]): T | undefined {
    return all[this.#options.runtime.randomBytes(4).readUInt32BE(0) % Math.max(1, all.length)]
  }

  /** Between half and one and a half of it. */
  #atRandom(ms: number): number {
    return ms * (0.5 + this.#options.runtime.randomBytes(4).readUInt32BE(0) / 2 ** 32)
  }

  /** Letters at random in words of six: some tokens for three of them at most, one for each at least where tokens are bytes. */
  #freshText(contextTokens: number): string {
    const chars = Math.max(32, Math.min(kernelTextChars, Math.floor(0.75 * contextTokens)))
    const letter = (byte: number, n: number) => (n % 7 === 6 ? ' ' : String.fromCharCode(97 + (byte % 26)))
    return Array.from(this.#options.runtime.randomBytes(chars), letter).join('')
  }
}

const answers = ({ digest, features }: MeasurableWorker['offers'][number]) =>
  digest !== null && (features.includes('chat') || features.includes('completion'))
