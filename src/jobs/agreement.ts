/** One of the answers that are computed side by side, once it is whole. */
export interface WholeAnswer<T> {
  readonly item: T
  /** Answers with the same name are the same answer. */
  readonly same: string
}

/** What follows from the answers so far. */
export type Agreement<T> =
  | { readonly verdict: 'wait' }
  /** So many more are needed, of operators that have not been asked. */
  | { readonly verdict: 'ask'; readonly more: number }
  | { readonly verdict: 'agreed'; readonly agreeing: readonly T[]; readonly dissenting: readonly T[] }
  /** Too many differ; nobody can be believed. */
  | { readonly verdict: 'undecided' }

/**
 * An answer is agreed on once `k` workers gave it. Whoever differs is replaced by one more, up to 2k − 1 in all, so that of two who differ a third
 * decides, and no smaller group can ever win. `running`: asked and not done.
 */
export function agreementOf<T>(whole: readonly WholeAnswer<T>[], running: number, k: number): Agreement<T> {
  const groups = new Map<string, T[]>()
  for (const { item, same } of whole) {
    const group = groups.get(same)
    if (group) group.push(item)
    else groups.set(same, [item])
  }
  let largest: readonly T[] = []
  for (const group of groups.values()) if (group.length > largest.length) largest = group
  if (largest.length >= k) {
    const dissenting = whole.map(({ item }) => item).filter((item) => !largest.includes(item))
    return { verdict: 'agreed', agreeing: largest, dissenting }
  }
  const missing = k - largest.length
  if (running >= missing) return { verdict: 'wait' }
  const more = missing - running
  return whole.length + running + more > 2 * k - 1 ? { verdict: 'undecided' } : { verdict: 'ask', more }
}
