/** Limits of model files on their way from a pool to a worker. Repeated in docs/reference/limits.md, kept by a test. */
export const artifactsLimits = {
  /** Files a pool sends at once, over all workers; one more is told to come back. */
  transfersAtOnce: 4,
  /** A worker that is told to come back does so after this time. */
  crowdedMs: 5_000,
  /** A ticket for a file is good for so long: 40 GiB at 2 MB/s. */
  ticketMs: 6 * 3_600_000,
  /** A ticket gives a file's bytes so many times over: a cut connection repeats little, and who repeats more wants something else. */
  ticketTimesMax: 2,
  /** Tickets that are good at once. */
  ticketsMax: 1_024,
  /** One read of a file that is sent. */
  pieceBytes: 256 * 2 ** 10,
  /** Bytes that were not written yet when a fetch is paused or cut are fetched again. Written down at least so often. */
  progressMs: 1_000,
  /** A pool that sends nothing for so long is asked again. */
  stalledMs: 30_000,
  /** First and longest wait before a cut fetch goes on. */
  retryMsMin: 500,
  retryMsMax: 30_000,
  /** Tries in a row that brought no byte before a fetch is given up. */
  fruitlessMax: 10,
  /** Disk that a fetched file leaves free. */
  diskSpareBytes: 256 * 2 ** 20,
  /** Fetched models one worker keeps, each lent by a process of its own; one more takes the place of the oldest at the next start. */
  heldMax: 32,
  /** The file that names them. */
  heldFileBytesMax: 262_144,
} as const
