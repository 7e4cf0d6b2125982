import type { Refusal } from '#protocol'
import { Answer, type AnswerHouse, type Exchange } from './answer.ts'
import type { Usage } from './answer-shape.ts'

/** How the client wants its vectors. */
export interface EmbeddingWish {
  readonly model: string
  readonly base64: boolean
  /** `dimensions` of the request: the answer must have as many. */
  readonly dimensions: number | undefined
}

/** An embeddings answer. Vectors come in any order and leave in the order of the inputs. */
export class EmbeddingAnswer extends Answer {
  readonly #wish: EmbeddingWish
  readonly #vectors: Float32Array[] = []

  constructor(house: AnswerHouse, exchange: Exchange, wish: EmbeddingWish) {
    super(house, exchange)
    this.#wish = wish
  }

  protected begin(): void {}

  /** Embeddings have no text. */
  text(): void {}
  delta(): void {}
  choiceEnd(): void {}
  flush(): void {}

  responseHash(): Buffer | null {
    return this.sentHash
  }

  vector(index: number, values: Float32Array): void {
    if (this.over) return
    const refusal = this.#whyNot(values)
    if (!refusal) {
      this.#vectors[index] = values
      return
    }
    this.handle?.cancel()
    this.refuse(refusal)
  }

  #whyNot(values: Float32Array): Refusal | undefined {
    const { dimensions } = this.#wish
    if (dimensions !== undefined && dimensions !== values.length) {
      return {
        code: 'unsupported_parameter',
        message: `This model's embeddings have ${values.length} dimensions.`,
        fix: `Send "dimensions": ${values.length} or leave it out.`,
        param: 'dimensions',
      }
    }
    if (values.every((value) => Number.isFinite(value))) return undefined
    return { code: 'upstream_error', message: 'The model answered with what is no number.', fix: 'Try again.' }
  }

  end({ promptTokens }: Usage): void {
    if (this.over) return
    const data = this.#vectors.map(
      (values, index) => `{"object":"embedding","index":${index},"embedding":${this.#vectorJson(values)}}`,
    )
    const usage = `{"prompt_tokens":${promptTokens},"total_tokens":${promptTokens}}`
    const model = JSON.stringify(this.#wish.model)
    this.sendJson(`{"object":"list","data":[${data.join(',')}],"model":${model},"usage":${usage}}`)
  }

  failed(refusal: Refusal): void {
    this.refuse(refusal)
  }

  #vectorJson(values: Float32Array): string {
    if (this.#wish.base64) return `"${littleEndian(values).toString('base64')}"`
    return `[${values.join(',')}]`
  }
}

/** The floats as OpenAI's base64 holds them: 32-bit, little-endian, whatever this machine is. */
function littleEndian(values: Float32Array): Buffer {
  const bytes = Buffer.allocUnsafe(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeFloatLE(value, index * 4)
  return bytes
}
