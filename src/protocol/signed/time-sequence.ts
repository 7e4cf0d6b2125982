/**
 * Numbers for orders that never come twice, also after a restart: the clock in milliseconds, and one more than the last where that is not
 * ahead of it. A pool looks back 4,096 numbers, so that requests may overtake each other by about four seconds.
 */
export function timeSequence(runtime: { now(): number }): () => number {
  let last = 0
  return () => {
    last = Math.max(last + 1, runtime.now())
    return last
  }
}
