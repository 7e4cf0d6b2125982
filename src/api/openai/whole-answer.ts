import type { JobHandle } from '#jobs'
import type { FinishReason, Refusal, Token } from '#protocol'
import { Answer, type AnswerHouse, type Exchange } from './answer.ts'
import type { Usage, WholeShape } from './answer-shape.ts'

/** An answer sent as one JSON body. */
export class WholeAnswer extends Answer {
  readonly #shapeOf: (handle: JobHandle) => WholeShape
  #shape: WholeShape | undefined
  #chars = 0

  constructor(house: AnswerHouse, exchange: Exchange, shapeOf: (handle: JobHandle) => WholeShape) {
    super(house, exchange)
    this.#shapeOf = shapeOf
  }

  protected begin(handle: JobHandle): void {
    this.#shape = this.#shapeOf(handle)
  }

  text(choice: number, text: string, tokens: readonly Token[]): void {
    if (this.#grew(text.length)) this.#form.text(choice, text, tokens)
  }

  delta(choice: number, delta: Record<string, unknown>): void {
    if (this.#grew(JSON.stringify(delta).length)) this.#form.delta(choice, delta)
  }

  /** Only embeddings have vectors. */
  vector(): void {}

  choiceEnd(choice: number, finish: FinishReason): void {
    if (!this.over) this.#form.finish(choice, finish)
  }

  end(usage: Usage): void {
    if (!this.over) this.sendJson(this.#form.body(usage))
  }

  failed(refusal: Refusal): void {
    this.refuse(refusal)
  }

  /** Everything is sent by {@link end}. */
  flush(): void {}

  responseHash(): Buffer | null {
    return this.sentHash
  }

  get #form(): WholeShape {
    if (!this.#shape) throw new Error('a job answers only after it was accepted')
    return this.#shape
  }

  /** False once the answer is longer than this process will hold. */
  #grew(chars: number): boolean {
    if (this.over) return false
    this.#chars += chars
    if (this.#chars <= this.house.limits.answerCharsMax) return true
    this.handle?.cancel()
    this.refuse({
      code: 'upstream_error',
      message: `The answer is longer than ${this.house.limits.answerCharsMax} characters.`,
      fix: 'Send "stream": true, or ask for fewer tokens.',
    })
    return false
  }
}
