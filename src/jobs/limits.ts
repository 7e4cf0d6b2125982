/** Limits of one job's life. Repeated in docs/reference/limits.md, kept by a test. Settings may tighten or widen those marked so. */
export const jobsLimits = {
  /** A job must have ended by then (setting). Ten minutes of generation at 10 tokens/s are 6,000 tokens. */
  deadlineMs: 600_000,
  /** A run may wait so long for a free worker (setting); then 503, so that the client's own retry decides. */
  queueWaitMs: 60_000,
  /** How long a request waits for a model whose workers all left: a worker that lost its line is back within a second or two. */
  noWorkerGraceMs: 3_000,
  /** How long a broken answer waits for another worker that can continue it. */
  takeoverGraceMs: 5_000,
  /** Attempts of one run. A request that kills four workers is the likelier culprit. */
  attemptsMax: 4,
  /** The same of a run bound to a grammar: what one engine dies of, others die of, too. */
  constrainedAttemptsMax: 2,
  /** Workers that are busy against our books are asked again; when they take their time to say so, this often. Then it is a failure. */
  slowlyBusyMax: 8,
  /** After its stop string or last token the worker's own end is awaited so long, for its usage claim; then it is cut off. */
  endGraceMs: 250,
  /** Answers that were computed side by side are shown at multiples of this after their acceptance: when which worker was done stays hidden. */
  answerBucketMs: 500,
  /** What a chat template may add to a prompt on its own (a date, a tool manual) before a claim counts as a fault. */
  templateTokensMax: 512,
  /** One sweep looks after every deadline of every job; no job has a timer. Deadlines may be late by as much. */
  sweepMs: 100,
  /** Bodies of accepted jobs, kept until they end because a retry needs them. */
  bodyBytesMax: 512 * 2 ** 20,
  /**
   * When writes have failed for so long, a new request is refused at once and its client knows that nothing was done; until then it waits
   * for the database to come back. A server that was killed is back in less.
   */
  writePatienceMs: 10_000,
  /** A settlement waits so long for the next acceptance to share its commit: nobody waits for it. */
  settlePatienceMs: 10,
  /** Leases written in one flush at most; more wait for the next sweep. */
  leasesPerFlushMax: 1_024,
  /** Outcomes kept in memory while the database is away. One more is given up; its job shows as interrupted after the next start. */
  unsettledMax: 10_000,
  /** A pool process that has not renewed its row for so long is dead, and its jobs are interrupted. */
  instanceLeaseMs: 10_000,
  /** It renews its row so often: four beats may fail. */
  instanceBeatMs: 2_000,
  /** A model that nobody offered for so long is unknown again (404 instead of 503). */
  knownModelMs: 30 * 86_400_000,
  /** Models remembered in memory. An approved worker offers 256 at most. */
  knownModelsMax: 10_000,
  /** Idempotency keys are remembered for a day (contracts: content). */
  idempotencyMs: 86_400_000,
  /** Keys and models past their time are deleted so often. */
  idempotencySweepMs: 600_000,
  /** A finished body is replayed for so long, from memory only. */
  replayMs: 600_000,
  /** Bodies kept for replay, all together; the oldest go first. */
  replayBytesMax: 64 * 2 ** 20,
  /** Length of an Idempotency-Key header, characters. */
  idempotencyKeyCharsMax: 255,
  /** An assignment is good for so long after its job's deadline, so that a worker's clock may differ by as much. */
  assignmentSlackMs: 3_600_000,
  /** A cancelled run's last word, with its signature, is awaited so long; then what it sent is unsigned. */
  lastWordMs: 2_000,
  /** A payer's sequence numbers may come in any order within so many (contracts: order). */
  orderWindow: 4_096,
  /** A hold expires so long after its job's deadline (contracts: one job). */
  holdSlackMs: 60_000,
  /** Holds whose time is over, or whose job ended without them, are looked for so often. */
  holdSweepMs: 10_000,
  /** Holds released in one look. */
  orphansPerLook: 500,
  /** Rows of one page of the job list. */
  pageRowsMax: 500,
} as const
