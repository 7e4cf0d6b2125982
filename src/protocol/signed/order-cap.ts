import { protocolLimits } from '../limits.ts'
import type { ChatRequest } from '../openai/chat-request.ts'
import type { CompletionRequest } from '../openai/completion-request.ts'
import type { EmbeddingRequest } from '../openai/embedding-request.ts'
import {
  choicesOf,
  completionPrompts,
  embeddingInputs,
  maxTokensOf,
  type OpenAiKind,
  type OpenAiRequests,
} from '../openai/request-parts.ts'
import type { TokenPrices } from './price-list.ts'

/** A chat template adds at most so many tokens to a message (contracts: counting). */
const messageTokens = 16n

/**
 * The most a request can cost, as its payer bounds it: a prompt token is at least a byte of the body, and the answer is as long as `max_tokens`
 * says, 1,024 tokens a choice where it says nothing. The pool's own bound, which knows the context, is never above it.
 */
export function orderCap<K extends OpenAiKind>(
  kind: K,
  request: OpenAiRequests[K],
  bodyBytes: number,
  prices: TokenPrices,
  /** Answers that are computed for each choice, for `required` and `deterministic`. */
  copies = 1,
): bigint {
  const promptTokens = BigInt(bodyBytes) + messageTokens * BigInt(partsOf(kind, request))
  const once = promptTokens * prices.prompt + completionTokens(kind, request) * prices.completion
  return BigInt(copies) * once
}

function partsOf<K extends OpenAiKind>(kind: K, request: OpenAiRequests[K]): number {
  if (kind === 'chat') return (request as ChatRequest).messages.length
  if (kind === 'completion') return completionPrompts(request as CompletionRequest).length
  return embeddingInputs(request as EmbeddingRequest).length
}

function completionTokens<K extends OpenAiKind>(kind: K, request: OpenAiRequests[K]): bigint {
  if (kind === 'embedding') return 0n
  const perChoice = maxTokensOf(request as ChatRequest | CompletionRequest) ?? protocolLimits.defaultCompletionTokensMax
  return BigInt(perChoice) * BigInt(choicesOf(kind, request))
}
