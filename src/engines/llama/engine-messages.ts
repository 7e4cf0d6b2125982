import type { ModelOffer, OpenAiKind, OpenAiRequests, Refusal, Token } from '#protocol'
import type { EngineEnd } from '../engine.ts'

/** A model file, or the first of a split one, and the name it is offered by. */
export interface ModelFile {
  readonly name: string
  readonly path: string
}

/** What the engine process needs to know; first message to it. */
export interface EngineSettings {
  readonly models: readonly ModelFile[]
  readonly slots: number
  readonly threads: number
  readonly contextTokens: number
  readonly gpu: boolean
  readonly digestCache: string | undefined
}

/** A task as the engine process sees it: without the raw body. */
export type ProcessTask = {
  [K in OpenAiKind]: {
    readonly kind: K
    readonly model: string
    readonly request: OpenAiRequests[K]
    readonly choice: number
    readonly seed: Uint8Array
    readonly maxTokens: number
    readonly resume: readonly number[]
  }
}[OpenAiKind]

/** Worker → engine process. */
export type EngineCommand =
  | { readonly type: 'open'; readonly settings: EngineSettings }
  | { readonly type: 'run'; readonly id: number; readonly task: ProcessTask }
  | { readonly type: 'cancel'; readonly id: number }
  /** The reader has taken so many tokens. */
  | { readonly type: 'taken'; readonly id: number; readonly tokens: number }
  | { readonly type: 'close' }

/** Engine process → worker. Several travel together in one message. */
export type EngineEvent =
  | { readonly type: 'ready'; readonly offers: readonly ModelOffer[] }
  | { readonly type: 'unusable'; readonly refusal: Refusal }
  | { readonly type: 'tokens'; readonly id: number; readonly tokens: Token[] }
  | { readonly type: 'vector'; readonly id: number; readonly index: number; readonly values: Float32Array }
  | { readonly type: 'end'; readonly id: number; readonly end: EngineEnd }
  /** The request is at fault. */
  | { readonly type: 'refused'; readonly id: number; readonly refusal: Refusal }
  | { readonly type: 'broken'; readonly id: number; readonly message: string }
  | { readonly type: 'cancelled'; readonly id: number }
  | { readonly type: 'log'; readonly level: 'info' | 'warn'; readonly fields: object; readonly message: string }
