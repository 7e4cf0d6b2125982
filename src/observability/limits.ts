/** Limits of observability. Repeated in docs/reference/limits.md, kept by a test. */
export const observabilityLimits = {
  /** Log lines that a stalled reader of stderr holds back; later ones are dropped, the program goes on. */
  bufferedBytesMax: 2 ** 20,
  /** How often a flood of one kind is counted in the log. */
  floodCountMs: 60_000,
  /** Kinds of a flood told apart at a time (code and source), the rest together: 128 lines a minute, 25 MB a day. */
  floodKindsMax: 64,
  /** How long events are kept: 30 days. */
  eventsKeptMs: 30 * 86_400_000,
  /** How often older ones are deleted. */
  eventPruneMs: 3_600_000,
  /** How often what happened is written. */
  eventWriteMs: 1_000,
  /** Events that wait for the database; the oldest beyond that are given up. */
  eventsWaitingMax: 10_000,
  /** Events in one answer. */
  eventsPageMax: 500,
} as const
