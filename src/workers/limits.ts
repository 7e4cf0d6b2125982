/** Limits of a worker's session, on the pool's side. Repeated in docs/reference/limits.md, kept by a test. */
export const workersLimits = {
  /** The pool pings every worker so often; a worker that has sent nothing for so long sends a heartbeat by itself. */
  heartbeatMs: 5_000,
  /** A worker not heard for so long is lost; with the sweep within 10 s. It has 4.4 s to answer a ping. */
  silentMsMax: 9_600,
  /** Deadlines, expiry and silence are looked at so often: revocation and expiry must take effect within 1 s. */
  sweepMs: 200,
  /** From the handshake to `hello`. The worker has nothing to compute before it. */
  helloMsMax: 5_000,
  /** The first session of a key answers within this time, or the second takes its place. */
  contestMsMax: 1_000,
  /** A pool that was asleep meanwhile gives the first session that time anew, so often: its answer lies unread. */
  contestRepeatsMax: 4,
  /** A decision on a worker is remembered so long: twice the time a handshake may take. */
  standingMemoryMs: 10_000,
  /** Bytes of stream messages one run may send ahead of its reader; 100 ms of distance at 650 KB/s of text. */
  creditBytes: 64 * 2 ** 10,
  /** One stream message: a vector of 65,536 dimensions, or a tool call, fits twice. */
  streamMessageBytesMax: 512 * 2 ** 10,
  /** One JSON message that is not part of a stream: 256 offers with long names fit. */
  controlMessageBytesMax: 256 * 2 ** 10,
  /** Tokens in one message; the worker's coalescing sends far fewer. */
  tokensPerMessageMax: 4_096,
  /** All stream messages of one run: 2,048 embeddings of 4,096 dimensions are 32 MiB. */
  runBytesMax: 64 * 2 ** 20,
  /** What is not text of one run (tool calls). It is not held back for a slow reader, so it stays small. */
  deltaBytesMax: 4 * 2 ** 20,
  /** A cancelled run must be acknowledged within this time: one prompt batch on a slow machine. */
  stopMsMax: 60_000,
  /** A dispatch waits so long for a cancelled run to free its slot, then tries another worker. */
  slotWaitMsMax: 2_000,
  /** Unsent bytes of one session beyond which nothing more is dispatched to it: four of the largest requests. */
  unsentBytesMax: 16 * 2 ** 20,
  /** Checks and calibrations one worker has at once: each may hold a request and 1 MiB of evidence. */
  checksPerWorkerMax: 4,
  /** Tokens of one checked answer. */
  checkTokensMax: 1_048_576,
  /** From a commitment to the reveal: the other verifiers of the same answer may take so long. */
  revealMsMax: 600_000,
  /** From the reveal to the evidence: 1 MiB on a slow line. */
  evidenceMsMax: 60_000,
  /** Seconds of computing over which tokens per second are averaged. */
  meterSeconds: 10,
  /** Workers whose protocol violations are remembered, and how many of each. */
  violatorsMax: 1_024,
  violationsPerWorkerMax: 16,
} as const
