import type { AcceptedRequest, Payer } from '#jobs'
import {
  type ChatMessage,
  type ChatRequest,
  type CompletionRequest,
  choicesOf,
  completionPrompts,
  type EmbeddingRequest,
  embeddingInputs,
  type FeatureNeed,
  maxTokensOf,
  type OpenAiKind,
  type OpenAiRequests,
  type OrderHeader,
  protocolLimits,
  stopsOf,
} from '#protocol'
import type { Wishes } from './wishes.ts'

/** What is known besides the body itself. */
export interface Around {
  readonly body: Buffer
  readonly key: Payer
  readonly order: OrderHeader | undefined
  readonly model: {
    readonly name: string
    readonly digest: string | undefined
    readonly contextTokens: number | undefined
  }
  /** The name that was asked for, where `model` stands in for it. */
  readonly asked?: string | undefined
  readonly needs: readonly FeatureNeed[]
  readonly wishes: Wishes
  readonly idempotency: AcceptedRequest['idempotency']
  /** Whether another pool may compute it, where nothing of it speaks against it. */
  readonly forwardable?: boolean
}

/** The parsed request as a job: what the scheduler, the counting and the takeover must know of it. */
export function toAcceptedRequest<K extends OpenAiKind>(
  kind: K,
  request: OpenAiRequests[K],
  around: Around,
): AcceptedRequest {
  const common = {
    kind,
    model: around.model.name,
    asked: around.asked,
    // A payer who insists on a model file gets that one or none.
    digest: around.model.digest ?? around.order?.order.message.digest?.toString('hex'),
    body: around.body,
    key: around.key,
    order: around.order,
    needs: around.needs.map((need) => need.feature),
    choices: choicesOf(kind, request),
    ...around.wishes,
    idempotency: around.idempotency,
    forwardable: around.forwardable ?? false,
  }
  if (kind === 'embedding') return { ...common, ...embeddingParts(request as EmbeddingRequest) }
  const { contextTokens } = around.model
  if (kind === 'completion') return { ...common, ...completionParts(request as CompletionRequest, contextTokens) }
  return { ...common, ...chatParts(request as ChatRequest, contextTokens, around.body.length) }
}

type Parts = Omit<
  AcceptedRequest,
  | 'kind'
  | 'model'
  | 'asked'
  | 'digest'
  | 'body'
  | 'key'
  | 'order'
  | 'needs'
  | 'choices'
  | 'idempotency'
  | 'forwardable'
  | 'deadlineMs'
  | keyof Wishes
>

function chatParts(request: ChatRequest, contextTokens: number | undefined, bodyBytes: number): Parts {
  const prefix = request.messages.map((message) => `${message.role}\n${textOf(message)}`)
  const constrained = (request.tools?.length ?? 0) > 0 || (request.response_format?.type ?? 'text') !== 'text'
  return {
    ...generationParts(request, contextTokens),
    messages: request.messages.length,
    // Templates write tools and schemas into the prompt; the body is a bound on all of it.
    promptBytes: constrained ? bodyBytes : prefix.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
    prefix,
    resumable: !constrained || request.temperature === 0,
  }
}

function completionParts(request: CompletionRequest, contextTokens: number | undefined): Parts {
  const prompts = completionPrompts(request)
  return {
    ...generationParts(request, contextTokens),
    messages: 1,
    prompts: prompts.length,
    promptBytes: prompts.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
    ...(prompts.length === 1 ? { prefix: prompts } : {}),
    resumable: true,
  }
}

type SampledRequest = Pick<ChatRequest | CompletionRequest, 'presence_penalty' | 'frequency_penalty' | 'logit_bias'>

function generationParts(request: ChatRequest | CompletionRequest, contextTokens: number | undefined) {
  const asked = maxTokensOf(request) ?? protocolLimits.defaultCompletionTokensMax
  return {
    maxTokens: Math.min(asked, contextTokens ?? asked),
    stops: stopsOf(request),
    stream: request.stream === true,
    isBent: isBent(request),
  }
}

function isBent({
  presence_penalty: presence,
  frequency_penalty: frequency,
  logit_bias: bias,
}: SampledRequest): boolean {
  return Boolean(presence) || Boolean(frequency) || Object.keys(bias ?? {}).length > 0
}

function embeddingParts(request: EmbeddingRequest): Parts {
  const inputs = embeddingInputs(request)
  return {
    maxTokens: 0,
    stops: [],
    messages: inputs.length,
    promptBytes: inputs.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
    inputs: inputs.length,
    resumable: false,
    stream: false,
  }
}

/** What a message adds to the prompt, for counting and for prefix affinity. */
function textOf(message: ChatMessage): string {
  const { content } = message
  const text = typeof content === 'string' ? content : content ? JSON.stringify(content) : ''
  const name = message.name ?? ''
  const calls = message.role === 'assistant' && message.tool_calls?.length ? JSON.stringify(message.tool_calls) : ''
  return text + name + calls
}
