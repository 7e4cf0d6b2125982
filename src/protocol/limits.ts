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
  /** A model file that a pool hands to a worker; also what a worker may say it has room for. 16 TiB. */
  modelBytesMax: 2 ** 44,
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
  /** One signed message with its signature; the statement of a request with 256 segments fits. */
  signedBytesMax: 64 * 2 ** 10,
  /** The same in a message between pool and worker: an assignment or a statement has under 1,500. */
  signedWireBytesMax: 12_288,
  /** Nesting of signed bytes; ours nest 3 deep. */
  signedDepthMax: 8,
  /** Messages under one signature; a path to one of them is 16 hashes at most. */
  batchMessagesMax: 65_536,
  /** Verified roots, and accepted keys, that are remembered: a few seconds of a busy pool. */
  verifiedRootsMax: 8_192,
  /** Segments of one request: 16 choices, each tried a few times. */
  segmentsMax: 256,
  /** Looks at answers of one request before they are shown: 16 choices, each by three workers that look at each other's, and some left. */
  looksMax: 128,
  /** From signing to expiry of an order; a pool remembers used sequence numbers longer. */
  orderLifetimeMsMax: 86_400_000,
  /** One signed note. A checkpoint has 300 characters; a hundred witnesses' lines fit. */
  noteCharsMax: 65_536,
  /** Keys a pool has had, as far as one receipt tells. */
  successionsMax: 64,
  /** Signature lines of a note (the limit of the format's first implementation). */
  noteSignaturesMax: 100,
  /** Positions of one check that are listed one by one; longer answers are looked at in so many places. */
  checkPositionsMax: 4_096,
  /** Likeliest tokens listed for each position: as many as the sampler looks at. */
  checkTopMax: 64,
  /** The evidence of one check: 4,096 positions with 16 tokens each, or 1,274 with 64. */
  evidenceBytesMax: 2 ** 20,
  /** Positions whose text is not what the token says; one is enough. */
  wrongPiecesMax: 256,
  /** Relative to the largest logit: less than the logarithm of the smallest number of 32 bits. */
  logitMin: -104,
  /** A calibration text, in UTF-16 code units. */
  calibrationCharsMax: 16_384,
  /** One receipt file. */
  receiptBytesMax: 4 * 2 ** 20,
} as const
