import { type LlamaModel, TokenBias, type Token as TokenId } from 'node-llama-cpp'
import { type Utf8State, utf8After } from '../utf8-state.ts'
import type { Vocabulary } from './vocabulary.ts'

/**
 * Bars tokens that would make ill-formed UTF-8. llama.cpp's grammar takes any byte for a continuation byte, so that a
 * quote after half a letter would count as part of the letter, and the JSON would be broken.
 */
export class Utf8Guard {
  readonly #model: LlamaModel
  readonly #vocabulary: Vocabulary
  readonly #barred = new Map<Utf8State, TokenBias>()

  constructor(model: LlamaModel, vocabulary: Vocabulary) {
    this.#model = model
    this.#vocabulary = vocabulary
  }

  /** The client's biases, and "never" for each token that cannot follow text in this state. */
  biasAfter(state: Utf8State, biases: ReadonlyMap<number, number>): TokenBias {
    if (biases.size > 0) return this.#bar(state, biases)
    const known = this.#barred.get(state) ?? this.#bar(state, biases)
    this.#barred.set(state, known)
    return known
  }

  #bar(state: Utf8State, biases: ReadonlyMap<number, number>): TokenBias {
    const bias = new TokenBias(this.#model.tokenizer)
    for (const [id, logit] of biases) {
      if (id < this.#vocabulary.size) bias.set(id as TokenId, { logit })
    }
    for (let id = 0; id < this.#vocabulary.size; id++) {
      if (utf8After(state, this.#vocabulary.piece(id)) < 0) bias.set(id as TokenId, 'never')
    }
    return bias
  }
}
