import { type ModelOffer, PoolError } from '#protocol'
import { deadlineSignal, type Runtime, type Timer } from '#runtime'
import type { Engine, EngineEnd, EngineLog, EngineSink, EngineTask } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import { listModels, offersOf, type UpstreamModel } from './list-models.ts'
import { readAnswer } from './read-answer.ts'
import { readEmbeddings } from './read-embeddings.ts'
import { refuseStatus } from './refuse-status.ts'
import { type GenerationTask, upstreamBody } from './upstream-body.ts'
import { apiRoot, readText, UpstreamAway, UpstreamClient, type UpstreamPatience } from './upstream-client.ts'

export interface OpenAiEngineOptions {
  /** `http://127.0.0.1:11434` (Ollama), `http://127.0.0.1:8080` (llama-server), another pool …; `/v1` is added. */
  readonly baseUrl: string
  readonly apiKey?: string
  /** The models to lend, by the names clients use. Default: all that the upstream lists, by its names. */
  readonly models?: readonly UpstreamModel[]
  /** Requests sent at once. */
  readonly slots?: number
  /** Context of models whose size the upstream does not say, in tokens. */
  readonly contextTokens?: number
  /** Silences allowed, where the usual ones do not fit. */
  readonly patience?: Partial<UpstreamPatience>
  readonly runtime: Runtime
  readonly log: EngineLog
}

/** An OpenAI-compatible server, as the worker sees it. */
export class UpstreamEngine implements Engine {
  readonly kind = 'openai'
  readonly slots: number
  onDown: ((reason: string) => void) | undefined
  onOffersChanged: (() => void) | undefined
  readonly #options: OpenAiEngineOptions
  readonly #client: UpstreamClient
  readonly #closing = new AbortController()
  #offers: readonly ModelOffer[] = []
  #problem: string | undefined
  #poll: Timer | undefined
  #refreshing: Promise<void> | undefined

  constructor(options: OpenAiEngineOptions, patience: UpstreamPatience) {
    this.#options = options
    this.slots = options.slots ?? engineLimits.upstreamSlotsDefault
    // One connection more than requests, so that asking for the models never waits behind answers.
    this.#client = new UpstreamClient(apiRoot(options.baseUrl), options.apiKey, this.slots + 1, patience)
  }

  get offers(): readonly ModelOffer[] {
    return this.#offers
  }

  get problem(): string | undefined {
    return this.#problem
  }

  /** Asks which models there are, and asks again later. Never rejects. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#lookAgain().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  async run(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    signal.throwIfAborted()
    if (task.resume.length > 0) {
      const fix = 'Send the request again.'
      throw new PoolError('worker_lost', 'An upstream cannot continue an answer begun elsewhere.', fix)
    }
    const stop = AbortSignal.any([signal, this.#closing.signal])
    try {
      return await this.#ask(task, sink, stop)
    } catch (error) {
      if (error instanceof UpstreamAway) void this.refresh()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the engine was closed'))
    this.#poll?.cancel()
    this.#offers = []
    await this.#client[Symbol.asyncDispose]()
  }

  async #lookAgain(): Promise<void> {
    this.#poll?.cancel()
    try {
      this.#update(await this.#currentOffers(), undefined)
    } catch (error) {
      this.#update([], error instanceof Error ? error.message : String(error))
    }
    if (this.#closing.signal.aborted) return
    const waitMs = this.#problem === undefined ? engineLimits.upstreamPollMs : engineLimits.upstreamPollDownMs
    this.#poll = this.#options.runtime.after(waitMs, () => void this.refresh())
  }

  #ask(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const model = this.#options.models?.find(({ name }) => name === task.model)?.upstream ?? task.model
    if (task.kind !== 'embedding') return this.#generate(task, model, sink, signal)
    return readEmbeddings(this.#client, task.request, model, (index, values) => sink.vector(index, values), signal)
  }

  async #generate(task: GenerationTask, model: string, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const path = task.kind === 'chat' ? '/chat/completions' : '/completions'
    const response = await this.#client.post(path, upstreamBody(task, model), signal)
    const { statusCode, headers, body } = response
    if (statusCode !== 200) {
      const text = await readText(body, engineLimits.upstreamListBytesMax, signal)
      throw refuseStatus(statusCode, this.#client.hideKey(text))
    }
    if (!/^text\/event-stream\b/i.test(String(headers['content-type']))) {
      body.destroy()
      throw new Error('the upstream does not stream')
    }
    return readAnswer(body, wantsLogprobs(task), sink, signal)
  }

  async #currentOffers(): Promise<ModelOffer[]> {
    const { runtime, models, contextTokens = engineLimits.upstreamContextTokensDefault } = this.#options
    const late = new Error('the upstream did not list its models in time')
    using deadline = deadlineSignal(runtime, engineLimits.upstreamPollMsMax, late, this.#closing.signal)
    const offers = offersOf(await listModels(this.#client, deadline.signal), models, contextTokens)
    if (offers.length === 0) throw new Error('the upstream has none of the models it is asked for')
    return offers
  }

  #update(offers: readonly ModelOffer[], problem: string | undefined): void {
    if (this.#closing.signal.aborted) return
    const before = JSON.stringify(this.#offers)
    const wasUp = this.#problem === undefined && this.#offers.length > 0
    this.#offers = offers
    if (problem !== undefined && problem !== this.#problem) {
      this.#options.log.warn({ problem }, 'the upstream offers nothing')
    }
    this.#problem = problem
    if (problem !== undefined && wasUp) this.onDown?.(problem)
    if (JSON.stringify(offers) !== before) this.onOffersChanged?.()
  }
}

function wantsLogprobs(task: GenerationTask): boolean {
  return task.kind === 'chat' ? task.request.logprobs === true : typeof task.request.logprobs === 'number'
}
