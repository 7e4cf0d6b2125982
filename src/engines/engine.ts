import type {
  CheckTask,
  Evidence,
  FinishReason,
  ModelOffer,
  OpenAiKind,
  OpenAiRequests,
  Token,
  UsageClaim,
} from '#protocol'

/** One choice of one request, as the pool dispatched it. */
export interface EngineTaskOf<K extends OpenAiKind> {
  readonly kind: K
  /** The name clients use; the engine maps it to a file or to an upstream's name. */
  readonly model: string
  /** The HTTP body as the client sent it. Only an upstream reads it. */
  readonly body: Buffer
  readonly request: OpenAiRequests[K]
  /** Index of the choice, 0 … `protocolLimits.choicesMax` − 1. */
  readonly choice: number
  /** 32 bytes of sampler seed, the same for every choice of the request. */
  readonly seed: Buffer
  /** Most completion tokens of this choice, those of `resume` included. */
  readonly maxTokens: number
  /** Token ids generated before, by this or another worker; the engine continues after them. */
  readonly resume: readonly number[]
  /**
   * Computed alone: a context of its own from the first prompt token to the last of the answer, no reused beginning,
   * prompt batches of a fixed size. On one kernel class such an answer is the same to the last bit. Only `llama` can.
   */
  readonly isolated?: boolean
}

export type EngineTask = { [K in OpenAiKind]: EngineTaskOf<K> }[OpenAiKind]

/** Where an engine puts what it computes. */
export interface EngineSink {
  /** New tokens, in order. The engine waits for a returned promise before it runs far ahead. */
  tokens(tokens: Token[]): void | Promise<void>
  /** The prompt, so many tokens, has been computed: said before the first token, so that a cancelled run can be billed. */
  prompt?(tokens: number): void
  /** What an upstream said that is not text: tool calls, a refusal, reasoning. */
  delta(delta: Record<string, unknown>): void
  /** One embedding; `index` counts the request's inputs. */
  vector(index: number, values: Float32Array): void
}

/** How a task ended. `usage` counts this run only, not what came before `resume`. */
export interface EngineEnd {
  readonly finish: FinishReason
  readonly usage: UsageClaim
}

/** Something that computes inference. */
export interface Engine extends AsyncDisposable {
  readonly kind: 'llama' | 'openai'
  /** What it can be asked for right now; empty while it is down. */
  readonly offers: readonly ModelOffer[]
  /** Tasks it computes at once; more are queued. */
  readonly slots: number
  /** Why it offers nothing or less than it was told to, in a sentence. */
  readonly problem: string | undefined
  /**
   * Runs one task to its end. Rejects with a `PoolError` when the request is at fault (another worker would say the
   * same), with the signal's reason when aborted, and with another `Error` when this engine failed and another may not.
   */
  run(task: EngineTask, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd>
  /**
   * Looks at another worker's answer again, without generating: the prompt and the committed tokens are computed, and
   * each token is compared with what the model would have it be. Refusals and failures are as in {@link run}; an
   * answer bound to a grammar is refused with `unsupported_parameter`.
   */
  verify?(task: CheckTask, signal: AbortSignal): Promise<Evidence>
  /**
   * Kernel class by a calibration text of the pool's choice: sha256, 64 hex digits, of the logits of its last tokens,
   * computed as an isolated answer is. The same model on the same build and kind of processor gives the same class.
   */
  kernelClass?(model: string, text: string, signal: AbortSignal): Promise<string>
  /** It stopped working; `offers` is empty until {@link onOffersChanged} says otherwise. */
  onDown?: ((reason: string) => void) | undefined
  onOffersChanged?: (() => void) | undefined
}

/** Where an engine says what happened. A pino logger is one. Lines carry no prompt, reply or key. */
export interface EngineLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}
