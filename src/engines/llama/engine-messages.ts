import type { CheckTask, Evidence, ModelOffer, OpenAiKind, OpenAiRequests, Refusal, Token } from '#protocol'
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
  /** A CPU build of llama.cpp in place of the best one. */
  readonly cpuBuild: string | undefined
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
    readonly isolated?: boolean
  }
}[OpenAiKind]

/** Worker → engine process. */
export type EngineCommand =
  | { readonly type: 'open'; readonly settings: EngineSettings }
  | { readonly type: 'run'; readonly id: number; readonly task: ProcessTask }
  | { readonly type: 'verify'; readonly id: number; readonly task: CheckTask }
  | { readonly type: 'classify'; readonly id: number; readonly model: string; readonly text: string }
  | { readonly type: 'cancel'; readonly id: number }
  /** The reader has taken so many tokens. */
  | { readonly type: 'taken'; readonly id: number; readonly tokens: number }
  | { readonly type: 'close' }

/** What a command with an id comes to. */
export type EngineResult =
  | { readonly type: 'end'; readonly end: EngineEnd }
  | { readonly type: 'evidence'; readonly evidence: Evidence }
  | { readonly type: 'class'; readonly kernelClass: string }

/** Engine process → worker. Several travel together in one message. */
export type EngineEvent =
  | { readonly type: 'ready'; readonly offers: readonly ModelOffer[] }
  | { readonly type: 'unusable'; readonly refusal: Refusal }
  | { readonly type: 'tokens'; readonly id: number; readonly tokens: Token[] }
  /** The prompt is computed; it has so many tokens. */
  | { readonly type: 'prompt'; readonly id: number; readonly tokens: number }
  | { readonly type: 'vector'; readonly id: number; readonly index: number; readonly values: Float32Array }
  | { readonly type: 'result'; readonly id: number; readonly result: EngineResult }
  /** The request is at fault. */
  | { readonly type: 'refused'; readonly id: number; readonly refusal: Refusal }
  | { readonly type: 'broken'; readonly id: number; readonly message: string }
  | { readonly type: 'cancelled'; readonly id: number }
  /** It is there; `overdueMs` when the model has not moved for longer than its work explains. */
  | { readonly type: 'beat'; readonly overdueMs: number | undefined }
  | { readonly type: 'log'; readonly level: 'info' | 'warn'; readonly fields: object; readonly message: string }
