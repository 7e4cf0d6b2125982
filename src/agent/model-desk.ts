import { artifactsLimits, fetchModel, HeldModels } from '#artifacts'
import type { Engine } from '#engines'
import { type ModelOffered, memoryFor, messageType, PoolError, type Room } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { encodeFetched, encodeFetching, encodeRoom } from '#workers'
import type { AgentLog, EngineSet } from './engine-set.ts'
import { agentLimits } from './limits.ts'

/** What a worker needs to take models that its pool chooses. */
export interface ModelTaking {
  /** Where fetched models lie. */
  readonly folder: string
  /** Disk they may take, all together. */
  readonly spaceBytes: number
  /** Bytes of memory that are free now. */
  readonly memoryBytes: () => number
  /** Loads a file and lends it by this name. @throws PoolError model_unreadable. */
  readonly load: (name: string, path: string) => Promise<Engine>
}

interface Options extends ModelTaking {
  readonly engines: EngineSet
  readonly runtime: Runtime
  readonly log: AgentLog
  /** Address of a model file of the pool. */
  readonly urlOf: (digest: string) => string
}

/** The session an offer came in; what cannot be sent any more is not. */
export interface Line {
  say(type: number, body: Buffer): void
}

interface Taking {
  readonly offer: string
  readonly abort: AbortController
}

/**
 * The models a worker was offered: fetched, checked, loaded and lent, one at a time, and those of earlier times lent again. It knows
 * nothing of why: what to offer whom is the pool's decision, and whether to listen at all its owner's.
 *
 *   offerModel ──▶ fetching ──▶ loading ──▶ held          withdrawn, or the session ended: over, without a word
 *                     └────────────┴──▶ refused
 */
export class ModelDesk {
  readonly #o: Options
  readonly #held: HeldModels
  readonly #retell: Timer
  #lent: readonly { readonly digest: string; readonly engine: Engine }[] = []
  #line: Line | undefined
  #taking: Taking | undefined
  /** The newest offer, until its turn comes: those before it are forgotten. */
  #next: (() => Promise<void>) | undefined
  #work: Promise<void> = Promise.resolve()

  private constructor(options: Options, held: HeldModels) {
    this.#o = options
    this.#held = held
    this.#retell = options.runtime.every(agentLimits.roomMs, () => {
      if (this.#line && !this.#taking) this.#work = this.#work.then(() => this.#tellRoom())
    })
  }

  /** Lends what was fetched in earlier times. A file that cannot be loaded any more is removed. */
  static async open(options: Options): Promise<ModelDesk> {
    const held = await HeldModels.open(options.folder, options.spaceBytes)
    const desk = new ModelDesk(options, held)
    for (const { name, digest, path } of await held.list()) await desk.#lend(name, digest, path).catch(() => {})
    return desk
  }

  /** A session has begun: says what there is room for. */
  opened(line: Line): void {
    this.#line = line
    this.#work = this.#work.then(() => this.#tellRoom())
  }

  /** The session has ended; what was fetched so far stays for the next offer. */
  ended(): void {
    this.#line = undefined
    this.#taking?.abort.abort()
  }

  /** The pool offers a model. One at a time: the one before is given up. */
  take(model: ModelOffered): void {
    const line = this.#line
    if (!line) return
    this.#taking?.abort.abort()
    const taking: Taking = { offer: model.offer, abort: new AbortController() }
    this.#taking = taking
    if (!this.#next) this.#work = this.#work.then(() => this.#takeNext())
    this.#next = () => this.#take(model, line, taking)
  }

  #takeNext(): Promise<void> | undefined {
    const next = this.#next
    this.#next = undefined
    return next?.()
  }

  withdraw(offer: string): void {
    if (this.#taking?.offer === offer) this.#taking.abort.abort()
  }

  /** Ends the engines it has opened. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#retell.cancel()
    this.ended()
    await this.#work
    await Promise.all(this.#lent.map(({ engine }) => engine[Symbol.asyncDispose]()))
  }

  /** Never rejects. */
  async #take(model: ModelOffered, line: Line, taking: Taking): Promise<void> {
    const { log } = this.#o
    const { offer, name, digest, bytes } = model
    const { signal } = taking.abort
    const fields = { model: name, digest, bytes }
    try {
      signal.throwIfAborted()
      log.info(fields, 'the pool offers a model: fetching it')
      if (this.#o.engines.choose(name, null) === undefined) {
        await this.#refuseMore(model)
        const path = await this.#obtain(model, line, signal)
        await this.#held.add({ name, digest, bytes })
        await this.#exchange(model, path)
      }
      log.info(fields, 'the model that was offered is lent')
      line.say(messageType.fetched, encodeFetched({ offer, code: null, message: '', fix: '' }))
    } catch (error) {
      if (signal.aborted) log.info(fields, 'the model that was offered is not wanted any more')
      else this.#refuse(offer, line, fields, error)
    } finally {
      if (this.#taking === taking) this.#taking = undefined
    }
    await this.#tellRoom()
  }

  /** The file: one that it has by another name is not fetched again. */
  async #obtain(model: ModelOffered, line: Line, signal: AbortSignal): Promise<string> {
    const { offer, digest, bytes, ticket, expiresMs: msMax } = model
    const held = (await this.#held.list()).find((one) => one.digest === digest && one.bytes === bytes)
    if (held) return held.path
    await this.#makeRoom(model)
    const onProgress = (has: number) => line.say(messageType.fetching, encodeFetching(offer, has))
    const at = { url: this.#o.urlOf(digest), ticket, digest, bytes, folder: this.#held.folder }
    return fetchModel({ ...at, msMax, runtime: this.#o.runtime, signal, onProgress })
  }

  /** What the pool was told may be old, and a pool may offer what it likes: memory and processes are this machine's. Before anything is dropped. */
  async #refuseMore({ bytes, drop }: ModelOffered): Promise<void> {
    const dropped = (await this.#held.list()).filter(({ digest }) => drop.includes(digest))
    const stay = this.#lent.filter(({ digest }) => !dropped.some((one) => one.digest === digest))
    if (stay.length >= artifactsLimits.heldMax) {
      throw new PoolError(
        'overloaded',
        'This worker lends as many fetched models as it can.',
        'Restart it without some.',
      )
    }
    const memory = dropped.reduce((sum, old) => sum + memoryFor(old.bytes), this.#o.memoryBytes())
    if (memoryFor(bytes) <= memory) return
    throw new PoolError('overloaded', 'The model needs more memory than is free at this worker.', 'Make some free.')
  }

  #refuse(offer: string, line: Line, fields: object, error: unknown): void {
    const { code, message, fix } = error instanceof PoolError ? error.refusal : brokeDown(error)
    this.#o.log.warn({ ...fields, code, fix }, message)
    line.say(messageType.fetched, encodeFetched({ offer, code, message, fix }))
  }

  /**
   * Lends the new model in the place of those that are given up, which are deleted when that is done: there may be no memory for both. Where it
   * cannot be loaded they are lent again.
   */
  async #exchange({ name, digest, drop }: ModelOffered, path: string): Promise<void> {
    const old = await this.#heldAmong(drop)
    for (const model of old) await this.#stopLending(model.digest)
    try {
      await this.#lend(name, digest, path)
    } catch (error) {
      for (const model of old) await this.#lend(model.name, model.digest, model.path).catch(() => {})
      throw error
    }
    for (const model of old) await this.#remove(model.digest)
  }

  /** Where the disk has no room for both, what is given up goes before the new file comes; where it has none even so, nothing goes. */
  async #makeRoom({ bytes, digest, drop }: ModelOffered): Promise<void> {
    await this.#held.clearOthers(digest)
    if (bytes <= (await this.#held.roomBytes())) return
    const old = (await this.#heldAmong(drop)).map((model) => model.digest)
    if (bytes > (await this.#held.roomBytes(old))) {
      throw new PoolError(
        'disk_full',
        'The model is larger than what this worker gives room for.',
        'Raise --model-space.',
      )
    }
    for (const one of old) {
      await this.#stopLending(one)
      await this.#remove(one)
    }
  }

  /** Models that came from the pool: others are not its to drop. */
  async #heldAmong(digests: readonly string[]) {
    return (await this.#held.list()).filter(({ digest }) => digests.includes(digest))
  }

  async #stopLending(digest: string): Promise<void> {
    const theirs = this.#lent.filter((one) => one.digest === digest)
    this.#lent = this.#lent.filter((one) => one.digest !== digest)
    for (const { engine } of theirs) {
      this.#o.engines.remove(engine)
      await engine[Symbol.asyncDispose]()
    }
  }

  async #remove(digest: string): Promise<void> {
    await this.#held.remove(digest)
    this.#o.log.info({ digest }, 'a model that the pool had chosen makes room for another')
  }

  async #lend(name: string, digest: string, path: string): Promise<void> {
    try {
      const engine = await this.#o.load(name, path)
      this.#lent = [...this.#lent, { digest, engine }]
      this.#o.engines.add(engine)
    } catch (error) {
      this.#o.log.warn(
        { model: name, digest, error: String(error) },
        'a model that was offered cannot be loaded; it is removed',
      )
      await this.#held.remove(digest).catch(() => {}) // without its file the name is of no consequence
      throw error
    }
  }

  /** Nothing where the folder cannot be looked at: then there is no room. */
  async #tellRoom(): Promise<void> {
    const diskBytes = await this.#held.roomBytes().catch(() => 0)
    const held = (await this.#held.list()).map(({ digest, bytes }) => ({ digest, bytes }))
    const room: Room = { diskBytes, memoryBytes: this.#o.memoryBytes(), held }
    this.#line?.say(messageType.room, encodeRoom(room))
  }
}

const brokeDown = (error: unknown) => ({
  code: 'internal_error' as const,
  message: `The model could not be taken: ${error instanceof Error ? error.message : String(error)}.`,
  fix: 'Look at the log of the worker.',
})
