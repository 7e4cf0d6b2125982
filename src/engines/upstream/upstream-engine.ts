import { type CheckTask, type Evidence, type ModelOffer, PoolError } from '#protocol'
import { deadlineSignal, type Runtime, type Timer } from '#runtime'
import type { Engine, EngineEnd, EngineLog, EngineSink, EngineTask } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import { checkByPrefix } from './check-by-prefix.ts'
import { continues } from './find-continuation.ts'
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
  /** By the upstream's name: whether it goes on with what was begun; undefined while that is being found out. */
  readonly #continues = new Map<string, boolean | undefined>()

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
      const end = await this.#ask(task, sink, stop)
      if (task.kind !== 'embedding') void this.#findContinuation(task.model)
      return end
    } catch (error) {
      if (error instanceof UpstreamAway) void this.refresh()
      throw error
    }
  }

  /** See `Engine.verify`: by prefixes, of plain text that nothing bent. */
  async verify(task: CheckTask, signal: AbortSignal): Promise<Evidence> {
    const model = this.#upstreamName(task.model)
    if (this.#continues.get(model) !== true) {
      const fix = 'Ask another worker.'
      throw new PoolError('unsupported_parameter', 'The upstream does not go on with an answer that was begun.', fix)
    }
    return checkByPrefix(this.#client, model, task, AbortSignal.any([signal, this.#closing.signal]))
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
    const model = this.#upstreamName(task.model)
    if (task.kind !== 'embedding') return this.#generate(task, model, sink, signal)
    return readEmbeddings(this.#client, task.request, model, (index, values) => sink.vector(index, values), signal)
  }

  #upstreamName(name: string): string {
    return this.#options.models?.find((one) => one.name === name)?.upstream ?? name
  }

  /**
   * Once for each model: at once for those that were named, else behind the first answer, so that no server loads all it has. What comes of it
   * is a feature of the offer.
   */
  async #findContinuation(name: string): Promise<void> {
    const model = this.#upstreamName(name)
    if (this.#continues.has(model) || this.#closing.signal.aborted) return
    this.#continues.set(model, undefined)
    const { runtime } = this.#options
    const late = new Error('the upstream did not go on in time')
    using deadline = deadlineSignal(runtime, engineLimits.continuationMsMax, late, this.#closing.signal)
    try {
      this.#continues.set(model, await continues(this.#client, model, deadline.signal))
      this.#update(this.#offers.map(this.#withContinuation), this.#problem)
    } catch {
      this.#continues.delete(model) // found out behind a later answer
    }
  }

  readonly #withContinuation = (offer: ModelOffer): ModelOffer => {
    if (this.#continues.get(this.#upstreamName(offer.name)) !== true || offer.features.includes('continue'))
      return offer
    return { ...offer, features: [...offer.features, 'continue'] }
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
    const found = offersOf(await listModels(this.#client, deadline.signal), models, contextTokens)
    const offers = found.map(this.#withContinuation)
    if (models) for (const { name } of offers) void this.#findContinuation(name)
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
