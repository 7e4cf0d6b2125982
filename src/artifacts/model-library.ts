import { type FileHandle, open } from 'node:fs/promises'
import { PoolError } from '#protocol'
import type { Runtime } from '#runtime'
import { byteRange } from './byte-range.ts'
import { artifactsLimits } from './limits.ts'
import { type Passage, Tickets } from './tickets.ts'

/** A model file that the pool hands out. */
export interface LibraryModel {
  readonly name: string
  readonly path: string
  /** Lowercase hex sha256. */
  readonly digest: string
  readonly bytes: number
}

interface Options {
  readonly runtime: Runtime
  /** Bytes a second, all transfers together. */
  readonly bytesPerSecond: number
  /** So many bytes went out. */
  readonly onSent?: (bytes: number) => void
}

/** What is sent of a file. */
export interface FilePart {
  readonly start: number
  readonly end: number
  readonly bytesOf: number
  /** It was asked for by range. */
  readonly partial: boolean
  readonly pieces: AsyncGenerator<Buffer>
}

/** The model files a pool hands to workers it has offered them to: by digest, for a ticket, few at once, no faster than told. */
export class ModelLibrary {
  readonly tickets: Tickets
  readonly #runtime: Runtime
  readonly #options: Options
  #models: readonly LibraryModel[]
  #transfers = 0
  /** Monotonic time at which the line is free for the next piece. */
  #freeAt = 0

  constructor(models: readonly LibraryModel[], options: Options) {
    this.#models = models
    this.#options = options
    this.#runtime = options.runtime
    this.tickets = new Tickets(options.runtime)
  }

  get models(): readonly LibraryModel[] {
    return this.#models
  }

  /** Files that are being sent now. */
  get transfers(): number {
    return this.#transfers
  }

  /** A file that is not what it was is handed out no more. */
  forget(digest: string): void {
    this.#models = this.#models.filter((model) => model.digest !== digest)
  }

  /**
   * What would be sent, before anything of it is read: ticket, place and file are taken with the first piece.
   * @throws PoolError ticket_refused, not_found, range_not_satisfiable.
   */
  open(digest: string, ticket: string, rangeHeader: string | undefined): FilePart {
    if (!this.tickets.opens(ticket, digest)) throw ticketRefused()
    const model = this.#models.find((one) => one.digest === digest)
    if (!model) throw gone()
    const range = byteRange(rangeHeader, model.bytes)
    if (range === 'unsatisfiable') throw outOfRange(model.bytes)
    const { start, end } = range ?? { start: 0, end: model.bytes }
    const pieces = this.#pieces(model, ticket, start, end)
    return { start, end, bytesOf: model.bytes, partial: range !== undefined, pieces }
  }

  /** @throws PoolError ticket_refused, conflict, overloaded, not_found. */
  async *#pieces(model: LibraryModel, ticket: string, start: number, end: number): AsyncGenerator<Buffer> {
    if (this.#transfers >= artifactsLimits.transfersAtOnce) throw crowded()
    const passage = this.tickets.admit(ticket, model.digest)
    if (passage === undefined) throw ticketRefused()
    if (passage === 'busy') throw busyTicket()
    this.#transfers++
    let file: FileHandle | undefined
    try {
      file = await open(model.path).catch(() => undefined)
      if (!file || (await file.stat()).size !== model.bytes) throw gone()
      yield* this.#read(file, passage, start, end)
    } finally {
      this.#transfers--
      passage.close()
      await file?.close()
    }
  }

  async *#read(file: FileHandle, passage: Passage, start: number, end: number): AsyncGenerator<Buffer> {
    for (let at = start; at < end; ) {
      const length = Math.min(artifactsLimits.pieceBytes, end - at)
      await this.#pace(length)
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, at)
      if (bytesRead === 0) throw new Error('the model file is shorter than it was')
      if (!passage.spend(bytesRead)) throw ticketRefused()
      this.#options.onSent?.(bytesRead)
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  /** Waits for its turn on the line. */
  async #pace(bytes: number): Promise<void> {
    const now = this.#runtime.monotonic()
    const at = Math.max(now, this.#freeAt)
    this.#freeAt = at + (bytes / this.#options.bytesPerSecond) * 1_000
    if (at > now) await this.#runtime.sleep(at - now)
  }
}

const ticketRefused = () =>
  new PoolError(
    'ticket_refused',
    'This ticket does not open this file, or not any more.',
    'Tickets come with an offer of a model, inside the worker’s session; wait for the next one.',
  )

const busyTicket = () =>
  new PoolError(
    'conflict',
    'Another connection is being served with this ticket.',
    'End it first: one connection at a time.',
  )

const crowded = () =>
  new PoolError('overloaded', 'The pool sends as many model files as it does at once.', 'Come back in a moment.', {
    retryAfterMs: artifactsLimits.crowdedMs,
  })

const gone = () =>
  new PoolError(
    'not_found',
    'The pool does not hold this file any more, or it was changed.',
    'Look at `model_library` and restart the pool.',
  )

const outOfRange = (bytes: number) =>
  new PoolError('range_not_satisfiable', `The file has ${bytes} bytes.`, 'Ask for a range inside it.')
