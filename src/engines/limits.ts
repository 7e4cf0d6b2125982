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
  /** Tokens of a checked answer computed at once: each needs a row of logits, 600 KB for the largest vocabularies. */
  verifyRowsMax: 64,
  /** Tokens of one checked answer looked up beyond the likeliest; further ones count as the last that was seen. */
  verifyLookupsMax: 256,
  /** A calibration text, in tokens: builds that agree on a short one may differ on a long one. */
  calibrationTokensMax: 4_096,
  /** Tokens at its end that make the kernel class. */
  calibrationSteps: 16,
  /** Tokens of a fast stream gather that long in the engine process; a slow stream's tokens leave at once. */
  gatherMs: 4,
  /** Tokens the engine process may be ahead of a slow reader, per request. */
  tokensAheadMax: 512,
  /** Reading, hashing and loading all models. A 70 GB file from a slow disk takes minutes. */
  loadMsMax: 1_800_000,
  /** A cancelled request that has not ended by then means the native code hangs; the process is replaced. */
  cancelMsMax: 60_000,
  /** The engine process says so often that it is there, from a thread that computes nothing. */
  beatMs: 2_000,
  /** Beats it may miss in a row: half a minute of one native call on that thread, or of a stopped process, ends it. */
  beatsMissedMax: 15,
  /** A step of the model (a batch of a prompt, or a token) may take so long, and half a second more per token of it … */
  stepMsMax: 60_000,
  stepMsPerToken: 500,
  /** … but never longer than this, which the first step may take in any case: it reads the file from a cold disk. */
  longStepMsMax: 600_000,
  /** A request that was on this many processes in a row when they died is refused for a while, and so many are kept. */
  suspectDeathsMax: 2,
  suspectMsMax: 600_000,
  suspectsMax: 256,
  /** A process told to end is killed afterwards. */
  closeMsMax: 3_000,
  /** First and longest pause before a crashed process is started again; it doubles in between. */
  restartMsMin: 500,
  restartMsMax: 60_000,
  /** Models found in one folder. */
  modelFilesMax: 64,
  /** Rules of one JSON schema's grammar; a schema of a thousand members makes about that many. */
  grammarRulesMax: 4_000,
  /** Its text, and the values of one `enum` (OpenAI allows 1,000 in all). */
  grammarCharsMax: 131_072,
  grammarChoicesMax: 1_000,
  /** Ways to read the same text, and these times the vocabulary: llama.cpp holds each token against each of them, 5 ns. */
  grammarWaysMax: 256,
  grammarTestsMax: 10_000_000,
  /** Steps to find these ways out: some tens of milliseconds. */
  grammarStepsMax: 90_000,
  /** Grammars kept for the next request with the same schema. */
  grammarsKeptMax: 16,
  /** All repetitions of a grammar together: llama.cpp writes each of them out, and a million takes a second. */
  grammarRepeatsSumMax: 50_000,
  /** llama.cpp silently takes a repetition above 2,000 for "any number". */
  grammarRepeatsMax: 1_000,
  /** Prefixes of a checked answer behind which an upstream is asked for a token, and likely tokens that it lists: as OpenAI allows. */
  prefixesMax: 16,
  chatLikelyMax: 20,
  completionLikelyMax: 5,
  /** To find out whether an upstream goes on with what was begun: it may load the model first. */
  continuationMsMax: 300_000,
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
