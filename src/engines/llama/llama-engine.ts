import { sha256 } from '#crypto'
import { type CheckTask, type Evidence, type ModelOffer, PoolError } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import type { Engine, EngineEnd, EngineLog, EngineSink, EngineTask } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import { hasGrammar } from '../resumable.ts'
import type { EngineSettings } from './engine-messages.ts'
import { EngineDied, EngineProcess, type ProgramFile } from './process-handle.ts'
import { Suspects } from './suspects.ts'

interface Parts {
  readonly settings: EngineSettings
  readonly entry: ProgramFile
  readonly runtime: Runtime
  readonly log: EngineLog
}

/**
 * llama.cpp, as the worker sees it.
 *
 *   starting ──▶ up ──▶ down ──(pause)──▶ starting
 *       └──────────────▶ down      any ──▶ closed
 */
export class LlamaEngine implements Engine {
  readonly kind = 'llama'
  readonly slots: number
  onDown: ((reason: string) => void) | undefined
  onOffersChanged: (() => void) | undefined
  readonly #parts: Parts
  readonly #suspects: Suspects
  #process: EngineProcess | undefined
  #offers: readonly ModelOffer[] = []
  #problem: string | undefined
  #pauseMs: number = engineLimits.restartMsMin
  #restart: Timer | undefined
  #closed = false

  constructor(parts: Parts) {
    this.#parts = parts
    this.slots = parts.settings.slots
    this.#suspects = new Suspects(parts.runtime)
  }

  get offers(): readonly ModelOffer[] {
    return this.#offers
  }

  get problem(): string | undefined {
    return this.#problem
  }

  /** Process id of the engine process, for an operator who wants to look at it. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** Starts the process and waits until the models are loaded. */
  async start(): Promise<void> {
    const { settings, entry, runtime, log } = this.#parts
    const process = new EngineProcess(entry, runtime, log)
    this.#process = process
    process.onDown = (reason, blamed) => {
      this.#suspects.died(blamed)
      this.#down(reason)
    }
    const offers = await process.open(settings)
    this.#offers = offers
    this.#problem = undefined
    this.onOffersChanged?.()
  }

  async run(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const fingerprint = sha256(task.body).toString('hex')
    const bound = hasGrammar(task.kind, task.request)
    return this.#ask(task.model, fingerprint, bound, signal, (on) => on.run(task, fingerprint, sink, signal))
  }

  async verify(task: CheckTask, signal: AbortSignal): Promise<Evidence> {
    const fingerprint = sha256(Buffer.from(`check ${JSON.stringify(task.request)}`)).toString('hex')
    return this.#ask(task.model, fingerprint, false, signal, (on) => on.verify(task, fingerprint, signal))
  }

  async kernelClass(model: string, text: string, signal: AbortSignal): Promise<string> {
    const fingerprint = sha256(Buffer.from(`class ${text}`)).toString('hex')
    return this.#ask(model, fingerprint, false, signal, (on) => on.kernelClass(model, text, fingerprint, signal))
  }

  /** Has the process do something, and remembers what killed it. `bound`: to a grammar, which may be why. */
  async #ask<T>(
    model: string,
    fingerprint: string,
    bound: boolean,
    signal: AbortSignal,
    work: (process: EngineProcess) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted()
    const process = this.#process
    if (this.#offers.length === 0 || !process) throw new Error(this.#problem ?? 'the engine process is not running')
    if (!this.#offers.some(({ name }) => name === model)) {
      const message = `This worker does not serve the model ${model}.`
      throw new PoolError('model_not_found', message, 'Ask for a model it lists.', { param: 'model' })
    }
    if (this.#suspects.convicted(fingerprint)) throw diedAgain()
    try {
      const result = await work(process)
      this.#pauseMs = engineLimits.restartMsMin // it works: a crash from here on is a new one
      this.#suspects.cleared(fingerprint)
      return result
    } catch (error) {
      if (!(error instanceof EngineDied) || !error.blamed) throw error
      // A request that may kill engines is not handed to one worker after the other.
      if (bound) throw diedOfSchema()
      throw this.#suspects.convicted(fingerprint) ? diedAgain() : error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#offers = []
    this.#restart?.cancel()
    await this.#process?.close()
  }

  #down(reason: string): void {
    const served = this.#offers.length > 0
    this.#process = undefined
    this.#offers = []
    this.#problem = reason
    if (this.#closed) return
    if (served) {
      this.#parts.log.warn({ reason, pauseMs: this.#pauseMs }, 'engine process ended; it is started again')
      this.onDown?.(reason)
      this.onOffersChanged?.()
      this.#startLater()
    }
  }

  #startLater(): void {
    this.#restart = this.#parts.runtime.after(this.#pauseMs, () => {
      this.start().catch((error: unknown) => {
        if (this.#closed) return
        this.#problem = error instanceof Error ? error.message : String(error)
        this.#parts.log.warn({ reason: this.#problem, pauseMs: this.#pauseMs }, 'engine process did not start')
        void this.#process?.close()
        this.#startLater()
      })
    })
    this.#pauseMs = Math.min(2 * this.#pauseMs, engineLimits.restartMsMax)
  }
}

function diedOfSchema(): PoolError {
  const fix = 'Simplify the schema or leave it out; this request is not tried on another worker.'
  return new PoolError('invalid_schema', 'The engine died while it computed an answer bound to a schema.', fix, {
    param: 'response_format',
  })
}

function diedAgain(): PoolError {
  const message = 'The engine died each time it computed this request, so it is refused for some minutes.'
  return new PoolError('invalid_request', message, 'Change the request, or ask the operator to look at the worker.')
}
