/** Limits of the programs. Repeated in docs/reference/limits.md, kept by a test. */
export const binLimits = {
  /** Once nothing runs any more, closing everything in order may take so long; then the process ends anyway. */
  forcedEndMs: 10_000,
  /** Answers have ended when the server closes; a client that does not even read its last bytes is cut. */
  closeMsMax: 2_000,
  /** How often a program that npm started looks whether npm still lives. */
  launcherCheckMs: 500,
  /** First and longest pause before a local worker that crashed is started again; it doubles in between. */
  restartMsMin: 500,
  restartMsMax: 30_000,
  /** A local worker that never served and ended so often cannot be started at all. */
  firstFailuresMax: 3,
  /** One that lived so long starts again after the shortest pause. */
  healthyMs: 60_000,
  /** Beyond the time it has to finish its work a local worker that does not end is killed. */
  killAfterMs: 5_000,
  /** Worker keys whose curve check need not be repeated when they connect again: about 10 MB. */
  acceptedKeysMax: 100_000,
  /** A start waits so long for the audit of what came since the last one; then it goes on beside the running pool. */
  startAuditMsMax: 5_000,
  /** A witness tells all that it has seen of this pool's log. */
  askWitnessMsMax: 30_000,
  /** What a witness has told, in a file. */
  seenFileBytesMax: 2 * 2 ** 20,
  /** On which kind of file system the files of the kill switch lie is looked at so often: something may have been mounted there. */
  fileSystemsMs: 1_000,
  /** A pool that is just starting has its database up by then; so long commands beside it wait. */
  databaseUpMs: 10_000,
  /** After a block of an address once more: a session was on its way in for at most as long as the door waits (5 s). */
  blockedAgainMs: 6_000,
  /** Rows of a backup's part, bytes as JSON: what is held in memory. */
  backupPartBytes: 4 * 2 ** 20,
  /** A member of a backup that is read whole; its manifest has 100 bytes a table. */
  backupMemberBytesMax: 64 * 2 ** 20,
  /** An answer that a command reads whole: lists and statuses. */
  answerBytesMax: 64 * 2 ** 20,
  /** `lichen proxy`: a pool that takes longer to be reached, or to say its prices, is not there. */
  proxyConnectMs: 10_000,
  /** A request of a program to the proxy must have arrived by then, as at a pool. */
  proxyRequestMs: 60_000,
  /** Silence of the pool; its own `request_timeout` ends an answer before (600 s unless set). */
  proxyAnswerMs: 3_600_000,
  /** Programs on one machine. */
  proxyConnectionsMax: 1_024,
  /** How often the journal of events is told how many workers and models there are. */
  overviewMs: 3_600_000,
  /** Slashing events that the snapshot of an overridden guard names one by one. */
  guardSnapshotMax: 1_000,
  /** Slashes that are told to other pools. */
  slashesToldMax: 1_000,
  /** API keys whose prices the proxy remembers. */
  proxyKeysMax: 64,
  /** What a pool says about the keys it has had, in one answer. */
  successionsBytesMax: 262_144,
  /** A pool whose log is read by a stranger: it begins to answer, and goes on, within so long; it is asked again so often where it is too busy. */
  publicReadMs: 30_000,
  publicReadAttemptsMax: 5,
  /** What a pool says of itself, and a checkpoint. */
  publicAnswerBytesMax: 4 * 2 ** 20,
  /** One line of what it tells of an hour: the check rates of 100,000 workers have 10 MB. */
  disclosureLineBytesMax: 64 * 2 ** 20,
} as const
