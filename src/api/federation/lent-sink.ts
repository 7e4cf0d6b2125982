import type { JobSink } from '#jobs'
import { type FinishReason, type Refusal, SegmentHash, type Token, type TokenBatch } from '#protocol'

/** How a lent job ended. */
export type LentEnd =
  | {
      readonly ok: true
      readonly finish: FinishReason
      readonly promptTokens: number
      readonly completionTokens: number
    }
  | { readonly ok: false; readonly refusal: Refusal }

/** The answer of a job for another pool: its pieces as they count, its text, and how it ended. */
export class LentSink implements JobSink {
  readonly sent = new SegmentHash()
  whole = ''
  #waiting: Token[] = []
  #finish: FinishReason = 'stop'
  #end: LentEnd | undefined
  #wake: () => void = () => {}

  pieces(_choice: number, tokens: TokenBatch): void {
    this.sent.add(tokens)
    for (const { id, piece } of tokens) this.#waiting.push({ id, piece: Buffer.from(piece) })
    this.#wake()
  }

  text(_choice: number, text: string): void {
    this.whole += text
  }

  delta(): void {}
  vector(): void {}

  choiceEnd(_choice: number, finish: FinishReason): void {
    this.#finish = finish
  }

  end(usage: { promptTokens: number; completionTokens: number }): void {
    this.#end = { ok: true, finish: this.#finish, ...usage }
    this.#wake()
  }

  failed(refusal: Refusal): void {
    this.#end = { ok: false, refusal }
    this.#wake()
  }

  responseHash(): null {
    return null
  }

  /** What came since the last call, or how it ended. Rejects when the signal aborts. */
  async next(signal: AbortSignal): Promise<readonly Token[] | LentEnd> {
    for (;;) {
      signal.throwIfAborted()
      if (this.#waiting.length > 0) return this.#waiting.splice(0)
      if (this.#end) return this.#end
      await new Promise<void>((resolve, reject) => {
        const aborted = () => reject(signal.reason)
        signal.addEventListener('abort', aborted, { once: true })
        const wake = () => {
          signal.removeEventListener('abort', aborted)
          resolve()
        }
        this.#wake = wake
      })
    }
  }
}
