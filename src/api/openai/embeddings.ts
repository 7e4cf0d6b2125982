import { embeddingRequestSchema } from '#protocol'
import type { AnswerRoute } from './answer-route.ts'
import { EmbeddingAnswer } from './embedding-answer.ts'
import { embeddingListSchema } from './reply-schemas.ts'

/** `POST /v1/embeddings`. */
export const embeddings: AnswerRoute<'embedding'> = {
  method: 'POST',
  path: '/v1/embeddings',
  caller: 'client',
  summary: 'Turn texts into vectors.',
  kind: 'embedding',
  body: embeddingRequestSchema,
  reply: embeddingListSchema,
  answer(house, exchange, request) {
    return new EmbeddingAnswer(house, exchange, {
      model: request.model,
      base64: request.encoding_format === 'base64',
      dimensions: request.dimensions ?? undefined,
    })
  },
}
