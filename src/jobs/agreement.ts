/**
 * What is known of two answers. `open`: somebody still looks at one of them. `unknown`: nobody could look, so they neither agree nor
 * accuse each other.
 */
export type Relation = 'agree' | 'differ' | 'open' | 'unknown'

/** What follows from the answers so far. */
export type Agreement<T> =
  | { readonly verdict: 'wait' }
  /** So many more are needed, of operators that have not been asked. */
  | { readonly verdict: 'ask'; readonly more: number }
  /** `dissenting`: whoever differs from more than half of those who agree, so that one false accuser among them blames nobody. */
  | { readonly verdict: 'agreed'; readonly agreeing: readonly T[]; readonly dissenting: readonly T[] }
  /** Too many differ; nobody can be believed. */
  | { readonly verdict: 'undecided' }

/**
 * An answer is agreed on once `k` workers agree, each with each. Whoever differs is replaced by one more, up to 2k − 1 in all, so that of two
 * who differ a third decides, and no smaller group can ever win. `whole`: answers that are; `running`: asked and not done; `relate` is symmetric.
 */
export function agreementOf<T>(
  whole: readonly T[],
  running: number,
  k: number,
  relate: (one: T, other: T) => Relation,
): Agreement<T> {
  const largest = largestGroup(whole, (one, other) => relate(one, other) === 'agree')
  if (largest.length >= k) {
    const differs = (item: T) => 2 * largest.filter((one) => relate(one, item) === 'differ').length > largest.length
    const dissenting = whole.filter((item) => !largest.includes(item) && differs(item))
    return { verdict: 'agreed', agreeing: largest, dissenting }
  }
  const isOpen = whole.some((one, n) => whole.slice(n + 1).some((other) => relate(one, other) === 'open'))
  const missing = k - largest.length
  if (isOpen || running >= missing) return { verdict: 'wait' }
  const more = missing - running
  return whole.length + running + more > 2 * k - 1 ? { verdict: 'undecided' } : { verdict: 'ask', more }
}

/** The first of the largest groups in which each agrees with each; of at most 9 answers (k ≤ 5), so every group is tried. */
function largestGroup<T>(items: readonly T[], agree: (one: T, other: T) => boolean): readonly T[] {
  let largest: readonly T[] = []
  const grow = (group: readonly T[], rest: readonly T[]) => {
    if (group.length > largest.length) largest = group
    rest.forEach((item, n) => {
      if (group.length + rest.length - n > largest.length && group.every((one) => agree(one, item))) {
        grow([...group, item], rest.slice(n + 1))
      }
    })
  }
  grow([], items)
  return largest
}
