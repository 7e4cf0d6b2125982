import { z } from 'zod'
import { type FinishReason, noTokenId, protocolLimits, type Token, type TopToken } from '#protocol'

const chatLogprob = z.object({
  token: z.string(),
  bytes: z.array(z.int().min(0).max(255)).nullish(),
  logprob: z.number(),
})
const chatLogprobs = z.object({
  content: z.array(chatLogprob.extend({ top_logprobs: z.array(chatLogprob).nullish() })).nullish(),
})
const textLogprobs = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish(),
})

/** One event of a streamed answer, chat or text, as any compatible server sends it. */
export const answerChunkSchema = z.object({
  choices: z
    .array(
      z.object({
        index: z.int().nullish(),
        delta: z.record(z.string(), z.unknown()).nullish(),
        text: z.string().nullish(),
        logprobs: z.unknown().optional(),
        finish_reason: z.string().nullish(),
      }),
    )
    .nullish(),
  usage: z.object({ prompt_tokens: z.int().min(0).nullish(), completion_tokens: z.int().min(0).nullish() }).nullish(),
  error: z.unknown().optional(),
})
export type AnswerChoice = NonNullable<z.infer<typeof answerChunkSchema>['choices']>[number]

/** A piece's length is 16 bits on the wire; a longer text becomes several pieces. */
const pieceBytesMax = 32_768
const logprobMin = -9_999

type Probable = z.infer<typeof chatLogprob>
const pieceOf = ({ bytes, token }: Probable) => (bytes ? Buffer.from(bytes) : Buffer.from(token))
const topOf = (top: readonly Probable[]): TopToken[] =>
  top.slice(0, protocolLimits.topLogprobsMax).map((one) => ({ piece: pieceOf(one), logprob: floor(one.logprob) }))
const floor = (logprob: number) => Math.max(logprobMin, logprob)

/** The tokens of one event: one per token where the upstream lists them with probabilities, else one for its text. */
export function tokensOf(choice: AnswerChoice, wantsLogprobs: boolean): Token[] {
  const text = choice.text ?? (typeof choice.delta?.content === 'string' ? choice.delta.content : '')
  const listed = wantsLogprobs ? listedTokens(choice) : undefined
  if (listed?.length && Buffer.concat(listed.map(({ piece }) => piece)).equals(Buffer.from(text))) return listed
  return textTokens(text)
}

function textTokens(text: string): Token[] {
  const bytes = Buffer.from(text)
  const tokens: Token[] = []
  for (let at = 0; at < bytes.length; at += pieceBytesMax) {
    tokens.push({ id: noTokenId, piece: bytes.subarray(at, at + pieceBytesMax) })
  }
  return tokens
}

/** The tokens that a choice lists with their probabilities. */
export function listedTokens(choice: Pick<AnswerChoice, 'logprobs'>): Token[] | undefined {
  const chat = chatLogprobs.safeParse(choice.logprobs)
  if (chat.success && chat.data.content) {
    return chat.data.content.map((one) => ({
      id: noTokenId,
      piece: pieceOf(one),
      logprob: floor(one.logprob),
      top: topOf(one.top_logprobs ?? []),
    }))
  }
  const text = textLogprobs.safeParse(choice.logprobs)
  if (!text.success) return undefined
  const { tokens, token_logprobs: logprobs, top_logprobs: tops } = text.data
  return tokens.map((token, index) => ({
    id: noTokenId,
    piece: Buffer.from(token),
    logprob: floor(logprobs[index] ?? 0),
    top: topOf(Object.entries(tops?.[index] ?? {}).map(([other, logprob]) => ({ token: other, logprob }))),
  }))
}

/** What a delta says besides its text and role: tool calls, a refusal, reasoning. */
export function extrasOf(choice: AnswerChoice): Record<string, unknown> | undefined {
  const extras = Object.entries(choice.delta ?? {}).filter(
    ([key, value]) => key !== 'role' && key !== 'content' && value !== null && value !== undefined,
  )
  return extras.length === 0 ? undefined : Object.fromEntries(extras)
}

const finishReasons: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'tool_calls',
  function_call: 'tool_calls',
  content_filter: 'content_filter',
}

/** A reason no one knows ends the answer as a plain stop. */
export const finishOf = (reason: string): FinishReason => finishReasons[reason] ?? 'stop'
