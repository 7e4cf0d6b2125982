import { sha256 } from '#crypto'
import { PoolError } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { type Measured, sortIntoClasses } from './kernel-classes.ts'
import type { KernelNames, NamedClass } from './kernel-names.ts'
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
  /** Names that other processes of the pool know, and this one knew before; absent: names live as long as this process. */
  readonly names?: Pick<KernelNames, 'of' | 'keep' | 'seen'> | undefined
  /** Names could not be read or kept; classes go by names of this process meanwhile. */
  readonly onProblem?: ((error: unknown) => void) | undefined
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
const { kernelComersMax, kernelComingsMax } = verificationLimits
const { kernelAgainMsMean, kernelNamesMax, kernelProofsMax, kernelRetryMsMin, kernelTextChars } = verificationLimits

/**
 * Who computes to the same last bit as whom: the kernel classes of the workers that are connected, by model file. Measured when a
 * worker comes, and again at random; who is of which is kept in memory only, since a worker that returns is measured anew. Names of
 * classes are shared: a class goes by the oldest name on record that one of its members proves, by computing the text the name was given for.
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
  /** Names on record that a class was found not to be, by its own name. */
  readonly #refuted = new Map<string, Set<string>>()
  /** How often a worker came with a file, since when: the others compute each time. */
  readonly #comings = new Map<string, { readonly count: number; readonly since: number }>()
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
      const { kernel, dueAt, failures } = known ?? {
        kernel: undefined,
        dueAt: this.#firstDue(worker.id, digest),
        failures: 0,
      }
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

  /** Soon, unless it comes again and again: each time others would have to compute beside it. */
  #firstDue(worker: string, digest: string): number {
    const now = this.#options.runtime.monotonic()
    const key = `${worker} ${digest}`
    const before = this.#comings.get(key)
    const { count, since } = before && now - before.since < kernelAgainMsMean ? before : { count: 0, since: now }
    if (!before && this.#comings.size >= kernelComersMax) this.#comings.clear()
    this.#comings.set(key, { count: count + 1, since })
    const tooOften = count - kernelComingsMax
    return now + (tooOften < 0 ? kernelGatherMs : Math.min(kernelAgainMsMean, kernelRetryMsMin * 2 ** tooOften))
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
      await this.#conclude(digest, entries, { those, hashes, text })
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

  async #conclude(
    digest: string,
    entries: ReadonlyMap<string, Entry>,
    { those, hashes, text }: { those: readonly Entry[]; hashes: readonly (string | undefined)[]; text: string },
  ): Promise<void> {
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
    const shared = await this.#sharedNames(digest, entries, { measured, classes, text }).catch((error: unknown) => {
      this.#options.onProblem?.(error)
      return new Map<string, string>()
    })
    for (const entry of entries.values()) {
      // A class that gets another name keeps those of its members who had no part in the round.
      const name = classes.get(entry.worker) ?? entry.kernel
      const kernel = name === undefined ? undefined : (shared.get(name) ?? name)
      if (kernel === undefined || entry.kernel === kernel) continue
      entry.kernel = kernel
      this.#options.tell(entry.worker, entry.name, kernel)
    }
  }

  /** What classes of a round are called on record, by what they would be called here. */
  async #sharedNames(
    digest: string,
    entries: ReadonlyMap<string, Entry>,
    { measured, classes, text }: { measured: readonly Measured[]; classes: ReadonlyMap<string, string>; text: string },
  ): Promise<Map<string, string>> {
    const shared = new Map<string, string>()
    const { names } = this.#options
    if (!names) return shared
    const known = await names.of(digest)
    for (const { worker, hash } of new Map(measured.map((one) => [classes.get(one.worker), one])).values()) {
      const [name = '', member] = [classes.get(worker), entries.get(worker)]
      const place = known.findIndex(({ kernel }) => kernel === name)
      const older = place < 0 ? known : known.slice(0, place)
      const proven = member && (await this.#proven(digest, member, name, older))
      if (proven !== undefined) shared.set(name, proven)
      else if (place < 0) await names.keep(digest, { kernel: name, text, hash })
    }
    const carried = new Set([...classes.values()].map((name) => shared.get(name) ?? name))
    await names.seen(digest, [...carried])
    return shared
  }

  /** The first of these names that a worker computes the hash of. */
  async #proven(
    digest: string,
    member: Entry,
    name: string,
    older: readonly NamedClass[],
  ): Promise<string | undefined> {
    const refuted = this.#refuted.get(name) ?? new Set<string>()
    const untried = older.filter(
      ({ kernel, text }) => !refuted.has(kernel) && text.length <= charsFor(member.contextTokens),
    )
    for (const { kernel, text, hash } of untried.slice(0, kernelProofsMax)) {
      const found = await this.#measure(digest, member, text)
      if (found === hash) return kernel
      if (found === undefined) return undefined
      if (this.#refuted.size >= kernelNamesMax ** 2) this.#refuted.clear()
      this.#refuted.set(name, refuted.add(kernel))
    }
    return undefined
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
    const chars = charsFor(contextTokens)
    const letter = (byte: number, n: number) => (n % 7 === 6 ? ' ' : String.fromCharCode(97 + (byte % 26)))
    return Array.from(this.#options.runtime.randomBytes(chars), letter).join('')
  }
}

const answers = ({ digest, features }: MeasurableWorker['offers'][number]) =>
  digest !== null && (features.includes('chat') || features.includes('completion'))

/** Letters of a calibration text that fit a context. */
const charsFor = (contextTokens: number) => Math.max(32, Math.min(kernelTextChars, Math.floor(0.75 * contextTokens)))
