import type { z } from 'zod'
import type { JobHandle } from '#jobs'
import type { OpenAiKind, OpenAiRequests } from '#protocol'
import type { Notice } from '../route.ts'
import type { Answer, AnswerHouse, Exchange } from './answer.ts'
import type { AnswerHead } from './answer-shape.ts'

/** What makes the head of an answer once its job exists. */
type HeadOf = (handle: JobHandle) => AnswerHead

/** A door whose answer is computed by a worker: one kind of request, whole or streamed. */
export interface AnswerRoute<K extends OpenAiKind> extends Notice {
  readonly kind: K
  readonly body: z.ZodType
  /** The way this request's answer will be written. */
  answer(house: AnswerHouse, exchange: Exchange, request: OpenAiRequests[K], headOf: HeadOf): Answer
}
