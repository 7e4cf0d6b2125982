/** Limits of crypto. Repeated in docs/reference/limits.md, kept by a test. */
export const cryptoLimits = {
  /** Nesting of a value written as canonical JSON. A parser allows 64; a value that contains itself has no end. */
  canonicalDepthMax: 256,
} as const
