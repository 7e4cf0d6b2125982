/** Limits of storage. Repeated in docs/reference/limits.md, kept by a test. */
export const storageLimits = {
  /** Operations of one flush. Beyond this a batch gains nothing and its latency grows. */
  flushOperationsMax: 1_024,
  /** Operations waiting for a flush; beyond, `overloaded`. Twenty full flushes are over a second behind. */
  waitingOperationsMax: 20_480,
  /** From submit to commit, database restarts included; then `database_unavailable`. */
  operationDeadlineMs: 30_000,
  /** How long after the last failed write the pool says that it is not ready, where no later one was tried. */
  stalledMs: 5_000,
  /** One connection attempt. A local socket answers in milliseconds, a remote server in a few round trips. */
  connectDeadlineMs: 5_000,
  /** One statement, by the server's own clock. */
  statementTimeoutMs: 20_000,
  /** A connection on which nothing moves for this long is cut: beyond a statement's timeout the server is stuck. */
  silentConnectionMs: 30_000,
  /** A shared connection nobody used for this long is closed; a new one takes milliseconds. */
  idleConnectionMs: 20_000,
  /** Administrative transactions wait for each other; this many at most. */
  transactionsWaitingMax: 1_000,
  /** An administrative transaction is tried again this long after a deadlock or a lost connection. */
  transactionRetryMs: 10_000,
  /** Connections for reads and administration. Writes of the hot path share one more. */
  connectionsMax: 8,
  /** Connections the embedded server accepts: four replicas' worth, or one and a curious operator. */
  serverConnectionsMax: 60,
  /** Keys of one batched look-up. */
  lookupBatchMax: 1_024,
  /** Look-ups waiting for an answer; beyond, `overloaded`. */
  lookupsWaitingMax: 16_384,
  /** First start of an embedded server: initdb, slow disks included. */
  initDeadlineMs: 120_000,
  /** Embedded server until it accepts connections: crash recovery of a busy pool included. */
  startDeadlineMs: 60_000,
  /** A fast shutdown writes one checkpoint; then the server is told to stop at once. */
  stopDeadlineMs: 20_000,
  /** How long a start waits for the previous program on the same data directory that is already leaving. */
  leavingHolderMs: 10_000,
  /** Waiting for another process that runs the migrations. */
  migrationLockMs: 60_000,
  /** Rows of one fetch of a dump: a row has 200 KB at most, a hundred of them are held in memory. */
  dumpRowsPerFetch: 100,
  /** Path of a Unix socket: 107 bytes and a zero on Linux (unix(7)), 103 on macOS. */
  socketPathBytesMax: 103,
} as const
