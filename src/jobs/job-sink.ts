import type { BudgetLeft } from '#ledger'
import type { FinishReason, PrivacyMode, Refusal, Token, TokenBatch } from '#protocol'
import type { Assurance } from './assurance.ts'

/** Where one job's answer goes. Calls arrive in order, never after {@link JobHandle.cancel}, exactly one of `end` and `failed` last. */
export interface JobSink {
  /** Text that may be shown; `tokens` are those it came from, where they carry log probabilities. Never empty text unless tokens carry logprobs. */
  text(choice: number, text: string, tokens: readonly Token[]): void
  /** The pieces that count, as they came: what another pool is sent. Views of a message; copy what is kept. */
  pieces?(choice: number, tokens: TokenBatch): void
  /** What is not text (tool calls of an upstream), in OpenAI's form of a `delta`. */
  delta(choice: number, delta: Record<string, unknown>): void
  /** One input's embedding. All of them come together, each index once, just before `end`. */
  vector(index: number, values: Float32Array): void
  /** One choice ended. */
  choiceEnd(choice: number, finish: FinishReason): void
  /** All choices ended; counted usage. */
  end(usage: { promptTokens: number; completionTokens: number }): void
  /** Nothing more comes. Before the first text this becomes an HTTP error; afterwards an SSE error event. */
  failed(refusal: Refusal): void
  /**
   * sha256 of what was sent as answer: the JSON body, or the lines of the stream that begin with `data:`, each with its line feed. Null
   * when nothing was. Asked once, after `end`, `failed` or {@link JobHandle.cancel}.
   */
  responseHash(): Buffer | null
}

/** An accepted job, held by whoever asked for it. */
export interface JobHandle {
  /** UUIDv7; the `x-lichen-receipt` of the response. */
  readonly id: string
  /** What is left of the key's budget; undefined when nothing limits it. */
  readonly left: BudgetLeft | undefined
  /** 32 bytes that open the receipt's commitment to the request body. They are nowhere on disk. */
  readonly salt: Buffer
  /** How it is checked. */
  readonly assurance: Assurance
  /** Who may see its prompt. */
  readonly privacy: PrivacyMode
  /** The client is gone: every run stops now, what was relayed is what is counted. The sink hears nothing more. */
  cancel(): void
  /** `bytes` of a choice's text (UTF-8) have left the pool; the worker may send as much again. Streaming jobs only need this. */
  consumed(choice: number, bytes: number): void
}
