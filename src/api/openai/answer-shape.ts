import type { FinishReason, Token } from '#protocol'

/** What every answer of the OpenAI API repeats. */
export interface AnswerHead {
  /** The job's id: also the receipt. */
  readonly jobId: string
  /** Unix seconds. */
  readonly created: number
  /** The model as the client named it. */
  readonly model: string
  /** Tells models and engines apart (OpenAI `system_fingerprint`); null for an upstream that shows no model file. */
  readonly fingerprint: string | null
}

export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
}

/** Server-sent events of one kind of answer. Each method returns whole events (`data: …\n\n`), possibly none. */
export interface StreamShape {
  /** What a choice says before its first text. */
  opening(choice: number): string
  text(choice: number, text: string, tokens: readonly Token[]): string
  delta(choice: number, delta: Record<string, unknown>): string
  finish(choice: number, finish: FinishReason): string
  /** The closing usage event, or `''` when the client did not ask for it. */
  usage(usage: Usage): string
}

/** One body of the same kind of answer. */
export interface WholeShape {
  text(choice: number, text: string, tokens: readonly Token[]): void
  delta(choice: number, delta: Record<string, unknown>): void
  finish(choice: number, finish: FinishReason): void
  body(usage: Usage): string
}

/** `data: [DONE]`: every stream that ended well ends so. */
export const doneEvent = 'data: [DONE]\n\n'

/**
 * OpenAI's `usage`. The details are true of every answer here: no prompt token is sold as cached, and reasoning, audio
 * and predictions are not told apart.
 */
export function usageJson({ promptTokens, completionTokens }: Usage): string {
  return `{"prompt_tokens":${promptTokens},"completion_tokens":${completionTokens},"total_tokens":${
    promptTokens + completionTokens
  },"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`
}

/** The id inside an answer: OpenAI's prefix and the receipt's digits. */
export const answerId = (prefix: 'chatcmpl' | 'cmpl', jobId: string) => `${prefix}-${jobId.replaceAll('-', '')}`
