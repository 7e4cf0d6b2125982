/** Limits of the engines. Repeated in docs/reference/limits.md, kept by a test. */
export const engineLimits = {
  /** Requests computed at once by an embedded model unless told otherwise; each holds a whole context in memory. */
  slotsDefault: 4,
  /** Tokens per context unless told otherwise: a 128 K context times four slots would take all memory. */
  contextTokensDefault: 16_384,
  /** The same for one input of an embeddings request: it is computed in one batch. */
  embeddingTokensMax: 2_048,
  /** Prompt tokens between two looks at "was it cancelled?" and between turns of other requests. */
  prefillTokensMax: 256,
  /** Tokens of a fast stream gather that long in the engine process; a slow stream's tokens leave at once. */
  gatherMs: 4,
  /** Tokens the engine process may be ahead of a slow reader, per request. */
  tokensAheadMax: 512,
  /** Reading, hashing and loading all models. A 70 GB file from a slow disk takes minutes. */
  loadMsMax: 1_800_000,
  /** A cancelled request that has not ended by then means the native code hangs; the process is replaced. */
  cancelMsMax: 60_000,
  /** A process told to end is killed afterwards. */
  closeMsMax: 3_000,
  /** First and longest pause before a crashed process is started again; it doubles in between. */
  restartMsMin: 500,
  restartMsMax: 60_000,
  /** Models found in one folder. */
  modelFilesMax: 64,
  /** Rules of one JSON schema's grammar; a schema of a thousand members makes about that many. */
  grammarRulesMax: 4_000,
  /** Its text, the values of one `enum` (OpenAI allows 1,000 in all), and the ways a value may begin: each is expanded at once. */
  grammarCharsMax: 131_072,
  grammarChoicesMax: 1_000,
  grammarWaysMax: 4_000,
  /** llama.cpp silently takes a repetition above 2,000 for "any number". */
  grammarRepeatsMax: 1_000,
  /** Requests sent to one upstream at once unless told otherwise. */
  upstreamSlotsDefault: 16,
  /** Context an upstream is trusted with when it does not say. */
  upstreamContextTokensDefault: 32_768,
  /** Silence of an upstream before its first byte: it may be loading a model. */
  upstreamFirstByteMsMax: 300_000,
  /** Silence within an answer. */
  upstreamIdleMsMax: 60_000,
  /** One streamed event: a tool call's arguments may come at once. */
  upstreamEventCharsMax: 2 ** 20,
  /** One whole answer; 2,048 embeddings are asked for in batches that stay below. */
  upstreamAnswerBytesMax: 64 * 2 ** 20,
  /** Inputs per embeddings call: 64 vectors of 8,192 numbers stay under 16 MiB of JSON. */
  upstreamEmbeddingBatchMax: 64,
  /** The list of models, and an error's body. */
  upstreamListBytesMax: 4 * 2 ** 20,
  /** The list is asked for that often, and more often while the upstream is away. */
  upstreamPollMs: 60_000,
  upstreamPollDownMs: 5_000,
  upstreamPollMsMax: 10_000,
  /** A program on this machine answers at once or is not there. */
  localProbeMsMax: 300,
} as const
