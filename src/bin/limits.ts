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
  /** An answer that a command reads whole: lists and statuses. */
  answerBytesMax: 64 * 2 ** 20,
} as const
