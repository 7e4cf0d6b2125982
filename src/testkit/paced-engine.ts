import type { Engine, EngineEnd, EngineSink, EngineTask } from '#engines'
import type { ModelOffer, Token } from '#protocol'
import type { Runtime } from '#runtime'

export interface PacedEngineOptions {
  readonly runtime: Runtime
  /** What it answers, one token each; ids count from 0. A takeover continues after `resume`. */
  readonly pieces: readonly string[]
  /** Milliseconds before each token; 0 gives all at once. */
  readonly everyMs?: number
  readonly kind?: Engine['kind']
  readonly slots?: number
  readonly offers?: readonly ModelOffer[]
  /** Default true; false for a load that goes on for long. */
  readonly keepsTasks?: boolean
  /** Called instead of answering, to play an engine that fails. */
  readonly instead?: (task: EngineTask, sink: EngineSink, signal: AbortSignal) => Promise<EngineEnd>
}

export const demoOffer: ModelOffer = {
  name: 'demo',
  digest: 'ab'.repeat(32),
  engine: 'llama',
  contextTokens: 2_048,
  features: ['chat', 'completion', 'embedding', 'logprobs', 'resume'],
}

/** A small working engine: answers every request with the same tokens at a steady pace. */
export class PacedEngine implements Engine {
  readonly kind: Engine['kind']
  readonly problem = undefined
  readonly slots: number
  offers: readonly ModelOffer[]
  onDown: ((reason: string) => void) | undefined
  onOffersChanged: (() => void) | undefined
  /** Tasks begun, for tests that ask. */
  readonly tasks: EngineTask[] = []
  /** Tokens handed out over all tasks. */
  given = 0
  readonly #options: PacedEngineOptions

  constructor(options: PacedEngineOptions) {
    this.#options = options
    this.kind = options.kind ?? 'llama'
    this.slots = options.slots ?? 4
    this.offers = options.offers ?? [demoOffer]
  }

  async run(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const { instead, runtime, pieces, everyMs = 0, keepsTasks = true } = this.#options
    if (keepsTasks) this.tasks.push(task)
    if (instead) return instead(task, sink, signal)
    const until = Math.min(pieces.length, task.maxTokens)
    const logprobs = task.kind === 'chat' && task.request.logprobs === true
    for (let at = task.resume.length; at < until; at++) {
      if (everyMs > 0) await runtime.sleep(everyMs, signal)
      signal.throwIfAborted()
      const piece = Buffer.from(pieces[at] ?? '')
      const token: Token = logprobs ? { id: at, piece, logprob: -1, top: [] } : { id: at, piece }
      this.given++
      await sink.tokens([token])
    }
    const finish = until < pieces.length ? 'length' : 'stop'
    return { finish, usage: { promptTokens: 5, completionTokens: Math.max(0, until - task.resume.length) } }
  }

  /** It crashed, or came back with these offers. */
  becomes(offers: readonly ModelOffer[]): void {
    this.offers = offers
    if (offers.length === 0) this.onDown?.('it was told to')
    else this.onOffersChanged?.()
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
