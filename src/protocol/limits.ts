/** Limits of what can be said at all. Repeated in docs/reference/limits.md, kept by a test. */
export const protocolLimits = {
  /** One HTTP request body. Four mebibytes hold a 1 M-token prompt in most languages. */
  bodyBytesMax: 4 * 2 ** 20,
  /** Nesting of JSON. Real requests nest under 12; a parser stack must not be the attacker's. */
  jsonDepthMax: 64,
  /** One Noise message is one WebSocket frame (Noise specification §3). */
  frameBytesMax: 65_535,
  /** One protocol message, as fragments: a 4 MiB body and its header fit. */
  messageBytesMax: 8 * 2 ** 20,
  /** A worker's own limit on the models it offers. */
  modelsPerWorkerMax: 256,
  modelNameCharsMax: 200,
  /** Choices (`n`) of one request; each is computed apart. */
  choicesMax: 16,
  /** Stop strings of one request (OpenAI's own limit) and their length. */
  stopsMax: 4,
  stopCharsMax: 1_024,
  /** Alternatives listed per token (OpenAI's own limit). */
  topLogprobsMax: 20,
  /** Inputs of one embeddings request (OpenAI's own limit). */
  embeddingInputsMax: 2_048,
  /** Completion tokens when the client gives no `max_tokens` (contracts: counting). */
  defaultCompletionTokensMax: 1_024,
} as const
