export type { ChatMessage } from './chat-message.ts'
export { type ChatRequest, chatRequestSchema } from './chat-request.ts'
export { type CompletionRequest, completionRequestSchema } from './completion-request.ts'
export { type EmbeddingRequest, embeddingRequestSchema } from './embedding-request.ts'
export { explainIssue } from './explain-issue.ts'
export { parseModelName } from './model-name.ts'
export { parseOpenAiRequest } from './parse-request.ts'
export {
  choicesOf,
  completionPromptOf,
  completionPrompts,
  embeddingInputs,
  type FeatureNeed,
  featuresNeeded,
  maxTokensOf,
  type OpenAiKind,
  type OpenAiRequests,
  stopsOf,
} from './request-parts.ts'
