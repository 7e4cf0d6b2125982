import { type ModelOffer, PoolError } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import type { Engine, EngineEnd, EngineLog, EngineSink, EngineTask } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import type { EngineSettings } from './engine-messages.ts'
import { EngineProcess, type ProgramFile } from './process-handle.ts'

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
  #process: EngineProcess | undefined
  #offers: readonly ModelOffer[] = []
  #problem: string | undefined
  #pauseMs: number = engineLimits.restartMsMin
  #restart: Timer | undefined
  #closed = false

  constructor(parts: Parts) {
    this.#parts = parts
    this.slots = parts.settings.slots
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
    process.onDown = (reason) => this.#down(reason)
    const offers = await process.open(settings)
    this.#offers = offers
    this.#problem = undefined
    this.onOffersChanged?.()
  }

  async run(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    signal.throwIfAborted()
    const process = this.#process
    if (this.#offers.length === 0 || !process) throw new Error(this.#problem ?? 'the engine process is not running')
    if (!this.#offers.some(({ name }) => name === task.model)) {
      const message = `This worker does not serve the model ${task.model}.`
      throw new PoolError('model_not_found', message, 'Ask for a model it lists.', { param: 'model' })
    }
    const end = await process.run(task, sink, signal)
    this.#pauseMs = engineLimits.restartMsMin // it works: a crash from here on is a new one
    return end
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
