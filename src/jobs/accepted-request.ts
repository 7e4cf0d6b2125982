import type { AssuranceLevel, ModelFeature, OrderHeader, PrivacyMode } from '#protocol'

/** How a request wants its answer checked. */
export interface AssuranceWish {
  readonly level: AssuranceLevel
  /** Asked for by header, body, key or order: refused when it cannot be given. Else it is the pool's policy, which serves all the same and says so. */
  readonly explicit: boolean
}

/** Who asks, who pays, and within which limits. */
export interface Payer {
  /** Of the API key. */
  readonly id: string
  /** Its share of a full pool; > 0, 1 is usual. */
  readonly weight: number
  /** Ledger account that pays. */
  readonly account: string
  /** Registered payer key of the account's user, 32 raw bytes. */
  readonly payerKey: Buffer | null
  readonly payerSignature: 'optional' | 'required'
  /** Micro-credits; null: no limit. */
  readonly budgetTotal: bigint | null
  readonly budgetPerDay: bigint | null
  readonly requestsPerMinute: number | null
  readonly tokensPerMinute: number | null
  /** Workers that compute an answer with the assurance `required`; null or absent: the pool's setting. */
  readonly requiredWorkers?: number | null | undefined
  /** Set where the payer is another pool: what it has agreed to pay for a token, its own and the treasury's share not in it. */
  readonly lent?: { readonly prices: { readonly prompt: bigint; readonly completion: bigint } } | undefined
}

/** A parsed and authorised request, as the API hands it in. Nothing of its content reaches the database. */
export interface AcceptedRequest {
  readonly kind: 'chat' | 'completion' | 'embedding'
  /** The model that answers: the one the client asked for, or the one that stands in for it. */
  readonly model: string
  /** The name the client asked for, where another model stands in for it. */
  readonly asked?: string | undefined
  /** Set when the client pinned the model file (`name@<sha256 hex>`). */
  readonly digest?: string | undefined
  /** The raw HTTP body, forwarded untouched. */
  readonly body: Buffer
  readonly key: Payer
  /** What the client's own payer key has signed, if it has one; else the pool signs as custodian. */
  readonly order?: OrderHeader | undefined
  /** `sampled`, as a policy, when absent. */
  readonly assurance?: AssuranceWish | undefined
  /** Who may see the prompt; `standard` when absent. */
  readonly privacy?: PrivacyMode | undefined
  /** What a worker must offer beside the model: `kind` itself, and logprobs, json_schema, tools, vision where used. */
  readonly needs: readonly ModelFeature[]
  /** Choices, 1 … 16. Each is a run of its own. */
  readonly choices: number
  /** Prompts among which the choices are divided evenly, in order; 1 when absent. Only completions have more. */
  readonly prompts?: number | undefined
  /** Most completion tokens of one choice; 0 for embeddings. */
  readonly maxTokens: number
  /** Stop strings; the pool cuts with them too. */
  readonly stops: readonly string[]
  /** Chat messages (1 for a completion or an embedding): bounds the prompt tokens that may be claimed. */
  readonly messages: number
  /** Bytes of the prompt text (UTF-8): bounds the prompt tokens that may be claimed. */
  readonly promptBytes: number
  /** Embeddings: how many vectors the answer must have. */
  readonly inputs?: number | undefined
  /** False when the answer cannot be continued elsewhere: grammar or tools at temperature > 0. */
  readonly resumable: boolean
  /** Penalties or biases change what is likely: an upstream's probabilities say nothing about its answer. False when absent. */
  readonly isBent?: boolean | undefined
  /** The client's `seed`, a 64-bit signed integer. */
  readonly seed?: number | bigint | undefined
  /** 32 bytes for the sampler that another pool has fixed; goes before `seed`. */
  readonly assignedSeed?: Buffer | undefined
  /** Whether another pool may compute it, where nothing else speaks against it; false when absent. */
  readonly forwardable?: boolean | undefined
  /** The conversation so far, one string per message (role and text), for prefix affinity. Hashed, not kept. */
  readonly prefix?: readonly string[] | undefined
  /** Milliseconds from now until the job must have ended; at most the pool's own limit. */
  readonly deadlineMs?: number | undefined
  /** False: credit is given back as text arrives, {@link JobHandle.consumed} need not be called. */
  readonly stream: boolean
  /** From an `IdempotencyClaim`: remembered in the same transaction as the job. */
  readonly idempotency?: { readonly keyMac: Buffer; readonly bodyMac: Buffer } | undefined
}
