import type { ModelFeature } from '../model-offer.ts'
import type { ChatRequest } from './chat-request.ts'
import type { CompletionRequest } from './completion-request.ts'
import type { EmbeddingRequest } from './embedding-request.ts'

/** What kind of work a request is. */
export type OpenAiKind = 'chat' | 'completion' | 'embedding'

/** The parsed request of each kind. */
export interface OpenAiRequests {
  chat: ChatRequest
  completion: CompletionRequest
  embedding: EmbeddingRequest
}

/** A feature that the model must have, and the parameter that asks for it. */
export interface FeatureNeed {
  readonly feature: ModelFeature
  readonly param: string
}

/** Texts of a completion's `prompt`, one per group of `n` choices. Token ids were refused by the parser. */
export function completionPrompts(request: CompletionRequest): readonly string[] {
  const { prompt } = request
  if (typeof prompt === 'string') return [prompt]
  return (prompt ?? []).filter((one) => typeof one === 'string')
}

/** The prompt that choice `choice` continues: `n` choices of the first prompt, then `n` of the second (OpenAI's order). */
export function completionPromptOf(request: CompletionRequest, choice: number): string {
  return completionPrompts(request)[Math.floor(choice / (request.n ?? 1))] ?? ''
}

/** Texts of an embeddings request, in order. */
export function embeddingInputs(request: EmbeddingRequest): readonly string[] {
  const { input } = request
  return typeof input === 'string' ? [input] : input.filter((one) => typeof one === 'string')
}

/** Choices the answer will have: 1 … `protocolLimits.choicesMax`. An embeddings request counts as one. */
export function choicesOf<K extends OpenAiKind>(kind: K, request: OpenAiRequests[K]): number {
  if (kind === 'embedding') return 1
  const asked = request as ChatRequest | CompletionRequest
  return (asked.n ?? 1) * ('prompt' in asked ? completionPrompts(asked).length : 1)
}

/** Stop strings, at most four, none empty. */
export function stopsOf(request: ChatRequest | CompletionRequest): readonly string[] {
  const { stop } = request
  if (stop === undefined || stop === null || stop === '') return []
  return typeof stop === 'string' ? [stop] : stop.filter((one) => one !== '')
}

/** Completion tokens the client allows per choice, or `undefined` when it leaves that to the pool. */
export function maxTokensOf(request: ChatRequest | CompletionRequest): number | undefined {
  if ('messages' in request) return request.max_completion_tokens ?? request.max_tokens ?? undefined
  return request.max_tokens ?? undefined
}

const chatOnly: readonly FeatureNeed[] = [{ feature: 'chat', param: 'model' }]
const completionOnly: readonly FeatureNeed[] = [{ feature: 'completion', param: 'model' }]
const embeddingOnly: readonly FeatureNeed[] = [{ feature: 'embedding', param: 'model' }]

/** What the model must be able to do, so that nothing in the request is silently ignored. The kind comes first. */
export function featuresNeeded<K extends OpenAiKind>(kind: K, request: OpenAiRequests[K]): readonly FeatureNeed[] {
  if (kind === 'embedding') return embeddingOnly
  if (kind === 'completion') {
    const { logprobs } = request as CompletionRequest
    return typeof logprobs === 'number'
      ? [...completionOnly, { feature: 'logprobs', param: 'logprobs' }]
      : completionOnly
  }
  return chatFeaturesNeeded(request as ChatRequest)
}

function chatFeaturesNeeded(request: ChatRequest): readonly FeatureNeed[] {
  let needs = chatOnly
  const need = (feature: ModelFeature, param: string) => {
    needs = [...needs, { feature, param }]
  }
  if (request.logprobs) need('logprobs', 'logprobs')
  if (request.response_format && request.response_format.type !== 'text') need('json_schema', 'response_format')
  if (request.tools?.length) need('tools', 'tools')
  if (request.continue_final_message) need('continue', 'continue_final_message')
  for (let index = 0; index < request.messages.length; index++) {
    const message = request.messages[index]
    if (message?.role === 'tool' && !request.tools?.length) need('tools', `messages[${index}].role`)
    if (message?.role !== 'user' || typeof message.content === 'string') continue
    if (message.content.some((part) => part.type === 'image_url')) need('vision', `messages[${index}].content`)
  }
  return needs
}
