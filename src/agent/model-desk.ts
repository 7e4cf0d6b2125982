import { fetchModel, HeldModels } from '#artifacts'
import type { Engine } from '#engines'
import { type ModelOffered, messageType, PoolError, type Room } from '#protocol'
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
  readonly #lent = new Map<string, Engine>()
  #line: Line | undefined
  #taking: Taking | undefined
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
    this.#work = this.#work.then(() => this.#take(model, line, taking))
  }

  withdraw(offer: string): void {
    if (this.#taking?.offer === offer) this.#taking.abort.abort()
  }

  /** Ends the engines it has opened. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#retell.cancel()
    this.ended()
    await this.#work
    await Promise.all([...this.#lent.values()].map((engine) => engine[Symbol.asyncDispose]()))
  }

  /** Never rejects. */
  async #take({ offer, name, digest, bytes, drop, ticket }: ModelOffered, line: Line, taking: Taking): Promise<void> {
    const { runtime, log, urlOf } = this.#o
    const { signal } = taking.abort
    const fields = { model: name, digest, bytes }
    try {
      signal.throwIfAborted()
      log.info(fields, 'the pool offers a model: fetching it')
      if (this.#o.engines.choose(name, null) === undefined) {
        for (const old of drop) await this.#drop(old)
        await this.#refuseTooLarge(bytes, digest)
        const { folder } = this.#held
        const onProgress = (has: number) => line.say(messageType.fetching, encodeFetching(offer, has))
        const order = { url: urlOf(digest), ticket, digest, bytes, folder, runtime, signal, onProgress }
        const path = await fetchModel(order)
        await this.#held.add({ name, digest, bytes })
        await this.#lend(name, digest, path)
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

  #refuse(offer: string, line: Line, fields: object, error: unknown): void {
    const { code, message, fix } = error instanceof PoolError ? error.refusal : brokeDown(error)
    this.#o.log.warn({ ...fields, code, fix }, message)
    line.say(messageType.fetched, encodeFetched({ offer, code, message, fix }))
  }

  /** Gives up a model that came from the pool: lent no more, its engine ended, its file deleted. Others are not the pool's to drop. */
  async #drop(digest: string): Promise<void> {
    if (!(await this.#held.list()).some((model) => model.digest === digest)) return
    const engine = this.#lent.get(digest)
    this.#lent.delete(digest)
    if (engine) this.#o.engines.remove(engine)
    await engine?.[Symbol.asyncDispose]()
    await this.#held.remove(digest)
    this.#o.log.info({ digest }, 'a model that the pool had chosen makes room for another')
  }

  async #refuseTooLarge(bytes: number, digest: string): Promise<void> {
    await this.#held.clearOthers(digest)
    if (bytes <= (await this.#held.roomBytes())) return
    throw new PoolError(
      'disk_full',
      'The model is larger than what this worker gives room for.',
      'Raise --model-space.',
    )
  }

  async #lend(name: string, digest: string, path: string): Promise<void> {
    try {
      const engine = await this.#o.load(name, path)
      this.#lent.set(digest, engine)
      this.#o.engines.add(engine)
    } catch (error) {
      this.#o.log.warn(
        { model: name, digest, error: String(error) },
        'a model that was offered cannot be loaded; it is removed',
      )
      await this.#held.remove(digest)
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
