/** An epoch is a UTC hour: assignments and receipts name theirs, and what is checked is drawn by it (contracts: sampling of checks). */
export const epochMs = 3_600_000

/** The epoch of a moment (ms since 1970): UTC hours since 1970. */
export function epochOf(ms: number): number {
  return Math.floor(ms / epochMs)
}
