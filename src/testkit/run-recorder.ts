import type { Refusal, TokenBatch } from '#protocol'
import type { RunEnd, RunSink } from '#workers'

/** A run's reader that keeps everything it was told. */
export class RunRecorder implements RunSink {
  text = ''
  readonly ids: number[] = []
  readonly deltas: Record<string, unknown>[] = []
  readonly vectors: { index: number; values: Float32Array }[] = []
  /** Final words, in order: a correct run has exactly one. */
  readonly last: string[] = []
  ended: Omit<RunEnd, 'statement'> | undefined
  statement: Buffer | null | undefined
  refusal: Refusal | undefined
  /** Whether it failed without anybody's fault. */
  blameless = false
  readonly #over = Promise.withResolvers<string>()

  /** The first final word. */
  get over(): Promise<string> {
    return this.#over.promise
  }

  tokens(tokens: TokenBatch): void {
    for (const token of tokens) {
      this.ids.push(token.id)
      this.text += token.piece.toString()
    }
  }

  delta(delta: Record<string, unknown>): void {
    this.deltas.push(delta)
  }

  vector(index: number, values: Float32Array): void {
    this.vectors.push({ index, values })
  }

  end({ finish, promptTokens, completionTokens, statement }: RunEnd): void {
    this.ended = { finish, promptTokens, completionTokens }
    this.statement = statement
    this.#say(`end ${finish}`)
  }

  failed(failed: { retry: boolean; refusal: Refusal; blameless?: boolean }): void {
    this.refusal = failed.refusal
    this.blameless = failed.blameless === true
    this.#say(`failed ${failed.refusal.code}${failed.retry ? ', retry' : ''}`)
  }

  lost(reason: string): void {
    this.#say(`lost: ${reason}`)
  }

  #say(word: string): void {
    this.last.push(word)
    this.#over.resolve(word)
  }
}
