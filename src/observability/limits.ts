/** Limits of observability. Repeated in docs/reference/limits.md, kept by a test. */
export const observabilityLimits = {
  /** Log lines that a stalled reader of stderr holds back; later ones are dropped, the program goes on. */
  bufferedBytesMax: 2 ** 20,
  /** How often a flood of one kind is counted in the log. */
  floodCountMs: 60_000,
  /** Kinds of a flood told apart at a time (code and source), the rest together: 128 lines a minute, 25 MB a day. */
  floodKindsMax: 64,
} as const
