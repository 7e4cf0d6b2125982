/** `id` of a piece that has no token id: text from an upstream that does not reveal its tokens. */
export const noTokenId = 0xffff_ffff

/** One of the likelier tokens at a position. */
export interface TopToken {
  readonly piece: Buffer
  readonly logprob: number
}

/** One generated token: its id in the model's vocabulary and the exact bytes it adds to the text. */
export interface Token {
  /** 0 … 2^32 − 2, or {@link noTokenId}. */
  readonly id: number
  /** May end in the middle of a UTF-8 sequence. */
  readonly piece: Buffer
  /** Natural logarithm of its probability; present when the request asked for logprobs. */
  readonly logprob?: number
  /** Most likely first. */
  readonly top?: readonly TopToken[]
}

/** By their place on the wire. */
export const finishReasons = ['stop', 'length', 'tool_calls', 'content_filter'] as const
export type FinishReason = (typeof finishReasons)[number]

/** What the worker says it used. A claim, never the bill (contracts: counting). */
export interface UsageClaim {
  readonly promptTokens: number
  readonly completionTokens: number
}
