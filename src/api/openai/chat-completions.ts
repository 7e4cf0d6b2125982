import { type ChatRequest, chatRequestSchema, choicesOf } from '#protocol'
import type { AnswerRoute } from './answer-route.ts'
import { ChatStreamShape, ChatWholeShape } from './chat-shape.ts'
import { chatCompletionSchema } from './reply-schemas.ts'
import { StreamAnswer } from './stream-answer.ts'
import { WholeAnswer } from './whole-answer.ts'

const topMaxOf = (request: ChatRequest) => (request.logprobs ? (request.top_logprobs ?? 0) : undefined)

/** `POST /v1/chat/completions`. */
export const chatCompletions: AnswerRoute<'chat'> = {
  method: 'POST',
  path: '/v1/chat/completions',
  caller: 'client',
  summary: 'Continue a conversation; whole, or streamed as server-sent events.',
  kind: 'chat',
  body: chatRequestSchema,
  reply: chatCompletionSchema,
  answer(house, exchange, request, headOf) {
    const topMax = topMaxOf(request)
    if (request.stream) {
      const includeUsage = request.stream_options?.include_usage === true
      return new StreamAnswer(house, exchange, topMax !== undefined, (handle) => {
        return new ChatStreamShape(headOf(handle), includeUsage, topMax)
      })
    }
    return new WholeAnswer(house, exchange, (handle) => {
      return new ChatWholeShape(headOf(handle), choicesOf('chat', request), topMax)
    })
  },
}
