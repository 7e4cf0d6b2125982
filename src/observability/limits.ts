/** Limits of observability. Repeated in docs/reference/limits.md, kept by a test. */
export const observabilityLimits = {
  /** Log lines that a stalled reader of stderr holds back; later ones are dropped, the program goes on. */
  bufferedBytesMax: 2 ** 20,
} as const
