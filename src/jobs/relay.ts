import { noTokenId, TextAssembler, type Token, type TokenBatch } from '#protocol'

/** Text that may be shown now, and the tokens it came from where they carry log probabilities. */
export interface Shown {
  readonly text: string
  readonly tokens: readonly Token[]
}

/**
 * Turns one choice's tokens, of however many segments, into what the client may see, and counts them.
 *
 * Keeps the token ids (a takeover continues from them), never the text. Log probabilities of tokens that are held back
 * or cut off by a stop string are held back or cut off with them.
 */
export class Relay {
  /** Ids of all tokens so far. */
  readonly ids: number[] = []
  readonly #assembler: TextAssembler
  readonly #maxTokens: number
  #hasIds = true
  #pending: { token: Token; startByte: number }[] = []
  #receivedBytes = 0
  #shownBytes = 0

  constructor(stops: readonly string[], maxTokens: number) {
    this.#assembler = new TextAssembler(stops)
    this.#maxTokens = maxTokens
  }

  /** Pieces that count: received before the stop string and within `max_tokens`. */
  get pieces(): number {
    return this.ids.length
  }

  /** False once a piece came without a token id: nobody could continue from here. */
  get hasIds(): boolean {
    return this.#hasIds
  }

  get stopped(): boolean {
    return this.#assembler.stopped
  }

  /** `max_tokens` is reached. */
  get full(): boolean {
    return this.ids.length >= this.#maxTokens
  }

  /** What these tokens make certain; `undefined` when nothing can be shown yet. */
  take(tokens: TokenBatch): Shown | undefined {
    return this.#show(this.#assembler.seeksStops || tokens.detailed ? this.#eachOf(tokens) : this.#allOf(tokens))
  }

  /** Where no piece can end the text before another one. */
  #allOf(tokens: TokenBatch): string {
    const counted = tokens.first(this.#maxTokens - this.ids.length)
    counted.pushIds(this.ids)
    if (this.#hasIds && this.ids.includes(noTokenId, this.ids.length - counted.length)) this.#hasIds = false
    this.#receivedBytes += counted.pieceBytes
    return this.#assembler.push(counted.text())
  }

  #eachOf(tokens: TokenBatch): string {
    let text = ''
    for (const token of tokens) {
      if (this.#assembler.stopped || this.full) break
      this.ids.push(token.id)
      if (token.id === noTokenId) this.#hasIds = false
      if (token.logprob !== undefined) this.#pending.push({ token, startByte: this.#receivedBytes })
      this.#receivedBytes += token.piece.length
      text += this.#assembler.push(token.piece)
    }
    return text
  }

  /** The rest, once no more tokens come. */
  finish(): Shown | undefined {
    const text = this.#assembler.finish()
    if (this.stopped || this.#pending.length === 0) return text ? { text, tokens: [] } : undefined
    const tokens = this.#pending.map((pending) => pending.token)
    this.#pending = []
    return { text, tokens }
  }

  #show(text: string): Shown | undefined {
    if (text === '') return undefined
    if (this.#pending.length === 0) return { text, tokens: [] }
    this.#shownBytes += Buffer.byteLength(text)
    const held = this.#pending.findIndex((pending) => pending.startByte >= this.#shownBytes)
    const shown = this.#pending.splice(0, held < 0 ? this.#pending.length : held)
    return { text, tokens: shown.map((pending) => pending.token) }
  }
}
