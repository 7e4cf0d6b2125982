import { type CompletionRequest, choicesOf, completionPromptOf, completionRequestSchema } from '#protocol'
import type { AnswerRoute } from './answer-route.ts'
import { CompletionStreamShape, CompletionWholeShape, type LegacyLogprobsWish } from './completion-shape.ts'
import { completionSchema } from './reply-schemas.ts'
import { StreamAnswer } from './stream-answer.ts'
import { WholeAnswer } from './whole-answer.ts'

function wishOf(request: CompletionRequest): LegacyLogprobsWish | undefined {
  if (typeof request.logprobs !== 'number') return undefined
  return { topMax: request.logprobs, promptChars: (choice) => completionPromptOf(request, choice).length }
}

/** `POST /v1/completions`. */
export const completions: AnswerRoute<'completion'> = {
  method: 'POST',
  path: '/v1/completions',
  caller: 'client',
  summary: 'Continue a text; whole, or streamed as server-sent events.',
  kind: 'completion',
  body: completionRequestSchema,
  reply: completionSchema,
  answer(house, exchange, request, headOf) {
    const wish = wishOf(request)
    if (request.stream) {
      const includeUsage = request.stream_options?.include_usage === true
      return new StreamAnswer(house, exchange, wish !== undefined, (handle) => {
        return new CompletionStreamShape(headOf(handle), includeUsage, wish)
      })
    }
    return new WholeAnswer(house, exchange, (handle) => {
      return new CompletionWholeShape(headOf(handle), choicesOf('completion', request), wish)
    })
  },
}
