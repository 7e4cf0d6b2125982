import {
  type Llama,
  type LlamaContext,
  type LlamaEmbeddingContext,
  type LlamaModel,
  LlamaVocabularyType,
  type Token as TokenId,
} from 'node-llama-cpp'
import { type ChatRequest, type ModelFeature, type ModelOffer, PoolError } from '#protocol'
import { engineLimits } from '../limits.ts'
import { ChatTemplate } from './chat-template.ts'
import { checkGgufHeader } from './check-gguf-header.ts'
import type { EngineSettings, ModelFile } from './engine-messages.ts'
import type { EvaluationWatch } from './evaluation-watch.ts'
import { fileDigest } from './file-digest.ts'
import { Grammars } from './grammars.ts'
import { IsolatedContexts } from './isolated-contexts.ts'
import { modelParts } from './model-files.ts'
import { SequencePool } from './sequence-pool.ts'
import { Utf8Guard } from './utf8-guard.ts'
import { Vocabulary } from './vocabulary.ts'

/** What answers are made with: absent in a model that only embeds. */
export interface Generator {
  readonly context: LlamaContext
  readonly sequences: SequencePool
  readonly grammars: Grammars
  readonly template: ChatTemplate | undefined
}

interface Parts {
  readonly llama: Llama
  readonly model: LlamaModel
  readonly vocabulary: Vocabulary
  readonly generator: Generator | undefined
  readonly name: string
  readonly digest: string
  readonly threads: number
  readonly watch: EvaluationWatch
}

/** A model in memory, ready to compute. */
export class LoadedModel implements AsyncDisposable {
  readonly llama: Llama
  readonly model: LlamaModel
  readonly vocabulary: Vocabulary
  readonly generator: Generator | undefined
  readonly utf8Guard: Utf8Guard
  readonly isolated: IsolatedContexts
  readonly offer: ModelOffer
  /** Every native step of the model is told to it. */
  readonly watch: EvaluationWatch
  readonly #threads: number
  #embedding: Promise<LlamaEmbeddingContext> | undefined

  private constructor({ llama, model, vocabulary, generator, name, digest, threads, watch }: Parts) {
    this.llama = llama
    this.model = model
    this.vocabulary = vocabulary
    this.generator = generator
    this.utf8Guard = new Utf8Guard(model, vocabulary)
    this.isolated = new IsolatedContexts(model, threads, watch)
    this.watch = watch
    this.#threads = threads
    const contextTokens = generator?.context.contextSize ?? embeddingContextOf(model) - 1
    this.offer = { name, digest, engine: 'llama', contextTokens, features: featuresOf(generator) }
  }

  /** Reads, hashes and loads a model and makes room for its answers. */
  static async open(
    llama: Llama,
    file: ModelFile,
    settings: EngineSettings,
    watch: EvaluationWatch,
    warn: (fields: object, message: string) => void,
  ): Promise<LoadedModel> {
    await checkGgufHeader(file.path)
    const digest = await fileDigest(modelParts(file.path), settings.digestCache)
    const model = await llama.loadModel({ modelPath: file.path })
    const vocabulary = new Vocabulary(model)
    const generator = onlyEmbeds(model) ? undefined : await openGenerator(llama, model, vocabulary, settings, watch)
    if (generator && !generator.template) {
      warn({ model: file.name }, 'the file has no usable chat template: completions only')
    }
    const { threads } = settings
    return new LoadedModel({ llama, model, vocabulary, generator, name: file.name, digest, threads, watch })
  }

  /** Token ids of a conversation. */
  chatPrompt(request: ChatRequest): number[] {
    const template = this.generator?.template
    if (!template) throw this.cannot('chat', 'has no chat template', 'Use POST /v1/completions, or another model.')
    const ids = template
      .render(request)
      .flatMap((text, index) => this.model.tokenize(text, true, index === 0 ? undefined : 'trimLeadingSpace'))
    return this.#begun(ids)
  }

  /** Token ids of a text to go on with. Control tokens may be spelled out: the prompt is all the client's own. */
  textPrompt(text: string): number[] {
    const ids = this.#begun(this.model.tokenize(text, true))
    if (ids.length > 0) return ids
    throw new PoolError('invalid_request', 'The prompt is empty.', 'Send at least one character.', { param: 'prompt' })
  }

  /** Tokens one input may have: the library keeps the last place of the context free. */
  get embeddingTokensMax(): number {
    return embeddingContextOf(this.model) - 1
  }

  /** Where vectors are computed, made when first asked for. */
  embedding(): Promise<LlamaEmbeddingContext> {
    const size = embeddingContextOf(this.model)
    this.#embedding ??= this.model
      .createEmbeddingContext({ contextSize: size, batchSize: size, threads: this.#threads })
      .catch((error: unknown) => {
        this.#embedding = undefined
        throw error
      })
    return this.#embedding
  }

  /** Frees its memory. One model at a time: the library deadlocks when it frees many at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#embedding)?.dispose()
    await this.generator?.context.dispose()
    await this.model.dispose()
  }

  /** The refusal of something this model is not made for. */
  cannot(param: string, what: string, fix: string): PoolError {
    return new PoolError('unsupported_parameter', `The model ${this.offer.name} ${what}.`, fix, { param })
  }

  #begun(ids: TokenId[]): number[] {
    const { bos, shouldPrependBosToken } = this.model.tokens
    return shouldPrependBosToken && bos !== null && ids[0] !== bos ? [bos, ...ids] : ids
  }
}

const embeddingContextOf = (model: LlamaModel) => Math.min(model.trainContextSize, engineLimits.embeddingTokensMax)

/** Models trained to embed say how their vectors are pooled, or have a tokenizer that only encoders use. */
function onlyEmbeds(model: LlamaModel): boolean {
  const { pooling_type: pooling } = model.fileInfo.architectureMetadata as { pooling_type?: number }
  return model.vocabularyType === LlamaVocabularyType.wpm || (pooling ?? 0) > 0
}

function featuresOf(generator: Generator | undefined): ModelFeature[] {
  if (!generator) return ['embedding']
  const rest: ModelFeature[] = ['completion', 'embedding', 'logprobs', 'json_schema', 'resume', 'continue']
  return generator.template ? ['chat', ...rest] : rest
}

async function openGenerator(
  llama: Llama,
  model: LlamaModel,
  vocabulary: Vocabulary,
  settings: EngineSettings,
  watch: EvaluationWatch,
): Promise<Generator> {
  const { slots, threads, contextTokens } = settings
  const context = await model.createContext({ sequences: slots, contextSize: { max: contextTokens }, threads })
  const sequences = Array.from({ length: slots }, () => context.getSequence())
  return {
    context,
    sequences: new SequencePool(sequences, watch),
    grammars: new Grammars(llama, model, vocabulary.size),
    template: templateOf(model, vocabulary),
  }
}

function templateOf(model: LlamaModel, vocabulary: Vocabulary): ChatTemplate | undefined {
  const source = model.fileInfo.metadata.tokenizer.chat_template
  if (source === undefined) return undefined
  const { bosString, eosString } = model.tokens
  try {
    return new ChatTemplate(source, {
      bos: bosString ?? '',
      eos: eosString ?? '',
      controlTexts: vocabulary.controlTexts(),
    })
  } catch {
    return undefined // not Jinja, or a dialect the parser does not know
  }
}
