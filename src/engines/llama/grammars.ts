import { type Llama, type LlamaGrammar, LlamaGrammarEvaluationState, type LlamaModel } from 'node-llama-cpp'
import { PoolError } from '#protocol'
import { jsonGrammar } from '../json-grammar.ts'
import { engineLimits } from '../limits.ts'

/** What llama.cpp's binding has and the library's types hide (node-llama-cpp 3.21.1, exactly pinned). */
interface GrammarBinding {
  readonly _bindings: { AddonSampler: { acceptGrammarEvaluationStateToken(state: unknown, id: number): void } }
}

/**
 * Grammars of one model. They are made on the thread that also hands out the batches of all requests: each is bounded
 * (limits of the grammar), one is made at a time, and between two of them the others have their turn.
 */
export class Grammars {
  readonly #llama: Llama
  readonly #model: LlamaModel
  readonly #waysMax: number
  readonly #made = new Map<string, LlamaGrammar>()
  #last: Promise<unknown> = Promise.resolve()

  constructor(llama: Llama, model: LlamaModel, vocabularySize: number) {
    this.#llama = llama
    this.#model = model
    const { grammarWaysMax, grammarTestsMax } = engineLimits
    this.#waysMax = Math.min(grammarWaysMax, Math.floor(grammarTestsMax / vocabularySize))
  }

  /** Where the grammar of a schema stands after the tokens an answer already has. Throws `PoolError` `invalid_schema`. */
  after(schema: unknown, answer: readonly number[]): Promise<LlamaGrammarEvaluationState> {
    const turn = this.#last.then(() => new Promise(setImmediate)).then(() => this.#begin(schema, answer))
    this.#last = turn.catch(() => {}) // whoever asked hears of it
    return turn
  }

  async #begin(schema: unknown, answer: readonly number[]): Promise<LlamaGrammarEvaluationState> {
    const state = new LlamaGrammarEvaluationState({ model: this.#model, grammar: await this.#grammar(schema) })
    // The library advances a grammar only while it samples; an answer begun elsewhere has to be replayed into it.
    const binding = this.#llama as unknown as GrammarBinding
    const { _state } = state as unknown as { _state: unknown }
    for (const id of answer) binding._bindings.AddonSampler.acceptGrammarEvaluationStateToken(_state, id)
    return state
  }

  /** The choices of one request, and the turns of one program, ask for the same grammar again and again. */
  async #grammar(schema: unknown): Promise<LlamaGrammar> {
    const key = JSON.stringify(schema)
    const known = this.#made.get(key)
    if (known) return known
    const grammar = await this.#parsed(jsonGrammar(schema, this.#waysMax))
    if (key.length <= engineLimits.grammarCharsMax) this.#made.set(key, grammar)
    const [oldest] = this.#made.keys()
    if (this.#made.size > engineLimits.grammarsKeptMax && oldest !== undefined) this.#made.delete(oldest)
    return grammar
  }

  #parsed(grammar: string): Promise<LlamaGrammar> {
    return this.#llama.createGrammar({ grammar }).catch(() => {
      const fix = 'Simplify it: fewer members, fewer alternatives, smaller limits.'
      throw new PoolError('invalid_schema', 'The JSON schema makes no grammar that llama.cpp can follow.', fix, {
        param: 'response_format',
      })
    })
  }
}
