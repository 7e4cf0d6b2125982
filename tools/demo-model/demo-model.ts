/** The demo model as a program sees it: loaded by node-llama-cpp, spoken to through the chat template of its own file. */
import { fileURLToPath } from 'node:url'
import { type ChatHistoryItem, getLlama, JinjaTemplateChatWrapper, LlamaLogLevel, type Token } from 'node-llama-cpp'

export const demoModelPath = fileURLToPath(new URL('../../models/lichen-demo.gguf', import.meta.url))

/** One message of a chat, as in the OpenAI API. */
export interface Message {
  role: 'system' | 'user' | 'assistant'
  content: string
}

/** Longer than any answer the model knows: the lichen text takes 397 tokens. */
const answerTokensMax = 450

export interface AnswerOptions {
  /** 0 takes the likeliest token; above, the whole distribution is sampled. */
  temperature?: number
  seed?: number
}

/** Loads a GGUF file on one thread. Close it with `await using`. */
export async function openModel(path = demoModelPath) {
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: 1 })
  const model = await llama.loadModel({ modelPath: path })
  const context = await model.createContext({ contextSize: model.trainContextSize, threads: 1 })
  const sequence = context.getSequence()
  const chat = new JinjaTemplateChatWrapper({ template: model.fileInfo.metadata.tokenizer.chat_template ?? '' })

  /** The tokens an engine evaluates for these messages, up to and with the `<|assistant|>` mark. */
  function promptTokens(messages: readonly Message[]): Token[] {
    const chatHistory = [...messages.map(asHistoryItem), asHistoryItem({ role: 'assistant', content: '' })]
    return chat.generateContextState({ chatHistory }).contextText.tokenize(model.tokenizer)
  }

  /** What follows these tokens, until the model ends its answer; `undefined` when it does not end. */
  async function complete(tokens: Token[], options: AnswerOptions = {}): Promise<string | undefined> {
    await sequence.adaptStateToTokens(tokens.slice(0, -1), false)
    const sampling = { temperature: options.temperature ?? 0, topK: 0, topP: 1, minP: 0, seed: options.seed ?? 1 }
    const answered: Token[] = []
    for await (const token of sequence.evaluate(tokens.slice(sequence.nextTokenIndex), sampling)) {
      answered.push(token)
      if (answered.length > answerTokensMax) return undefined
    }
    return model.detokenize(answered)
  }

  return {
    model,
    promptTokens,
    complete,
    answer: (messages: readonly Message[], options?: AnswerOptions) => complete(promptTokens(messages), options),
    async [Symbol.asyncDispose]() {
      await context.dispose()
      await model.dispose()
      await llama.dispose()
    },
  }
}

export type OpenModel = Awaited<ReturnType<typeof openModel>>

function asHistoryItem({ role, content }: Message): ChatHistoryItem {
  if (role === 'assistant') return { type: 'model', response: [content] }
  return role === 'system' ? { type: 'system', text: content } : { type: 'user', text: content }
}
