import type { Engine, EngineEnd, EngineSink, EngineTask } from '#engines'
import type { Token } from '#protocol'

/** What a cheating worker does instead of its work. Its signature is as good as anybody's: the cheat happens before it signs. */
export type Cheat =
  /** Computes with another model, and says it was the one asked for. */
  | { readonly kind: 'substitute'; readonly other: Engine }
  /** Says that the answer is over after so many tokens. */
  | { readonly kind: 'stops_early'; readonly tokens: number }
  /** Sends other bytes than its token ids stand for. */
  | { readonly kind: 'edits' }
  /** Gives the answer to an earlier question. */
  | { readonly kind: 'caches' }

export const cheatKinds = ['substitute', 'stops_early', 'edits', 'caches'] as const satisfies Cheat['kind'][]

export interface DishonestOptions {
  readonly cheat: Cheat
  /** Share of the requests it cheats on, 0 … 1, spread evenly: the n-th for which ⌊n · rate⌋ grows. */
  readonly rate: number
}

/** An engine that can look at others' answers. */
type Looking = Engine & Required<Pick<Engine, 'verify' | 'kernelClass'>>

/** A real engine in the hands of a cheat. Checks of others' answers, kernel classes and offers are the engine's own. */
export class DishonestEngine implements Engine {
  readonly kind
  readonly slots
  readonly problem = undefined
  onDown: ((reason: string) => void) | undefined
  onOffersChanged: (() => void) | undefined
  readonly verify: Looking['verify']
  readonly kernelClass: Looking['kernelClass']
  readonly #honest: Looking
  readonly #options: DishonestOptions
  #asked = 0
  #earlier: { readonly tokens: readonly Token[]; readonly end: EngineEnd } | undefined

  constructor(honest: Looking, options: DishonestOptions) {
    this.kind = honest.kind
    this.slots = honest.slots
    this.#honest = honest
    this.#options = options
    this.verify = honest.verify.bind(honest)
    this.kernelClass = honest.kernelClass.bind(honest)
    honest.onDown = (reason) => this.onDown?.(reason)
    honest.onOffersChanged = () => this.onOffersChanged?.()
  }

  get offers() {
    return this.#honest.offers
  }

  run(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const { cheat, rate } = this.#options
    this.#asked++
    const cheats = Math.floor(this.#asked * rate) > Math.floor((this.#asked - 1) * rate)
    if (!cheats || task.kind === 'embedding') return this.#honestly(task, sink, signal)
    switch (cheat.kind) {
      case 'substitute':
        return cheat.other.run({ ...task, model: cheat.other.offers[0]?.name ?? task.model }, sink, signal)
      case 'stops_early':
        return this.#stopsEarly(cheat.tokens, task, sink, signal)
      case 'edits':
        return this.#honest.run(task, { ...sink, tokens: (tokens) => sink.tokens(tokens.map(edited)) }, signal)
      case 'caches':
        return this.#fromMemory(task, sink, signal)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { cheat } = this.#options
    await Promise.all([
      this.#honest[Symbol.asyncDispose](),
      cheat.kind === 'substitute' ? cheat.other[Symbol.asyncDispose]() : undefined,
    ])
  }

  async #honestly(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const tokens: Token[] = []
    const remember = (more: Token[]) => {
      tokens.push(...more)
      return sink.tokens(more)
    }
    const end = await this.#honest.run(task, { ...sink, tokens: remember }, signal)
    if (this.#options.cheat.kind === 'caches') this.#earlier = { tokens, end }
    return end
  }

  async #stopsEarly(most: number, task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const end = await this.#honest.run({ ...task, maxTokens: Math.min(most, task.maxTokens) }, sink, signal)
    return { ...end, finish: 'stop' }
  }

  async #fromMemory(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    if (!this.#earlier) return this.#honestly(task, sink, signal)
    const { tokens, end } = this.#earlier
    await sink.tokens(tokens.slice(0, task.maxTokens))
    return end
  }
}

/** The same id, another letter: what a person reads is not what the token says. */
function edited(token: Token): Token {
  const piece = Buffer.from(token.piece)
  piece.forEach((byte, at) => {
    if (byte >= 0x61 && byte < 0x7a) piece[at] = byte + 1
  })
  return { ...token, piece }
}
