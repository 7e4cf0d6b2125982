/** Limits of the worker program. Repeated in docs/reference/limits.md, kept by a test. */
export const agentLimits = {
  /** First and longest wait before the pool is dialled again; each is drawn between half and all of its value. */
  backoffMsMin: 200,
  backoffMsMax: 30_000,
  /** The same when the pool is there and has no room for the moment: it lets hundreds in every second. */
  crowdedMsMax: 8_000,
  /** From `hello` to `welcome`. The pool may first ask an earlier session of this worker for 1 s. */
  welcomeMsMax: 10_000,
  /** Heartbeat intervals without a word from the pool before the session counts as lost. */
  silentHeartbeatsMax: 2,
  /** Deadlines and silence are looked at so often. */
  sweepMs: 200,
  /** Under load the tokens of all runs leave together, at most so late. The first of a run leaves at once. */
  coalesceMs: 15,
  /** The same of answers that nobody reads before they are whole: what a takeover computes again at most. */
  coalesceWholeMs: 200,
  /** One tokens message; several fit into one frame. */
  messageBytesMax: 16 * 2 ** 10,
  /** Longer pieces of an upstream's text are split: base64 of one must fit 16,384 characters. */
  pieceBytesMax: 12_000,
  /** What one run may hold back while it has no credit: 2,048 embeddings of 4,096 dimensions. */
  outboxBytesMax: 40 * 2 ** 20,
  /** An engine that does not stop within this time is given up for that run. */
  engineStopMsMax: 30_000,
  /** Honoured assignments that are remembered: a day of one request a second. The oldest are forgotten first. */
  assignmentsRememberedMax: 100_000,
  /** Checks and calibrations computed at once, beside the runs; the others wait. */
  checksAtOnce: 2,
  /** A worker that takes models says so often what it has room for. */
  roomMs: 60_000,
  /** After the first signal running requests may finish for so long. */
  drainMsMax: 30_000,
} as const
