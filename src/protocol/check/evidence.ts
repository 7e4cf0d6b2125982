import type { OpenAiRequests } from '../openai/index.ts'
import type { Token } from '../token.ts'

/** An answer to look at again: the request as its worker had it, and the tokens that worker committed to. */
export interface CheckTaskOf<K extends 'chat' | 'completion'> {
  readonly kind: K
  readonly model: string
  readonly request: OpenAiRequests[K]
  readonly choice: number
  /** 32 bytes of sampler seed, the same for every choice of the request. */
  readonly seed: Buffer
  /** Most completion tokens that were allowed. */
  readonly maxTokens: number
  /** What the worker offered: its answer may end there with `length`, however much this machine has. */
  readonly contextTokens: number
  /** The answer from its first token on, segments of other workers included. */
  readonly tokens: readonly Pick<Token, 'id' | 'piece'>[]
  /** `prefill`: in one pass, in batches with other work. `isolated`: token by token, as an isolated answer is made. */
  readonly replay: 'prefill' | 'isolated'
  /** Positions to report, in any order; all when absent. The ending is always reported. */
  readonly positions?: readonly number[]
  /** Likeliest tokens to list for each, 0 … 64. */
  readonly top: number
}

export type CheckTask = { [K in 'chat' | 'completion']: CheckTaskOf<K> }['chat' | 'completion']

/** A token at a position. `logit` is relative to the largest raw one, which is 0; −104 stands for all that is less. */
export interface LogitOf {
  readonly id: number
  readonly logit: number
}

/** With its Gumbel noise; 0 at temperature 0. */
export interface DrawnToken extends LogitOf {
  readonly noise: number
}

export interface PositionEvidence {
  /** 0 = first token of the answer. */
  readonly position: number
  /** The committed token. */
  readonly chosen: DrawnToken
  /** What sampler/1 takes here by this machine's logits. */
  readonly choice: DrawnToken
  /** By how many logits the committed token missed (spec/sampler.md, "What is exact"); 0 = it is the choice. */
  readonly margin: number
  readonly top: readonly LogitOf[]
}

/** Why the answer stands finished after its last counted token. */
export interface EndingEvidence {
  /** What the tokens themselves show: a stop string, the last token allowed, or nothing but what the model wanted. */
  readonly shown: 'stop_string' | 'length' | 'nothing'
  /** For `nothing`: the position behind the last token, with the end token that missed by least as the chosen one. */
  readonly end: PositionEvidence | undefined
}

/** What a replay saw. Numbers only: whether they convict is decided elsewhere. */
export interface Evidence {
  /**
   * `replay`: the model itself was fed the tokens. `prefix`: a server that shows no logits was asked for one token after
   * each prefix; ids are unknown, noise is none, and above temperature 0 a margin only says how unlikely a token was.
   */
  readonly method: 'replay' | 'prefix'
  readonly promptTokens: number
  /** Tokens until the answer ended by itself; fewer than committed when some stand behind its end. */
  readonly completionTokens: number
  /** Positions whose committed piece is not what the token adds to the text, ascending; further ones than fit are left out. */
  readonly wrongPieces: readonly number[]
  /** First position whose id is not in the vocabulary: nothing from there on counts. */
  readonly unknownAt: number | undefined
  /** In order of position. */
  readonly positions: readonly PositionEvidence[]
  readonly ending: EndingEvidence
  /**
   * `isolated` only: sha256 over the 65 likeliest tokens of every position and their probabilities, bit by bit. Equal on
   * machines of one kernel class.
   */
  readonly logitsHash: string | undefined
}
