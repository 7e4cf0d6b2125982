/** What one worker made of the text of a round. */
export interface Measured {
  readonly worker: string
  /** Hash of its logits, 64 hex digits. Comparable within the round only. */
  readonly hash: string
  /** The class it was of before. */
  readonly before: string | undefined
}

/**
 * The class of everybody who was given the same fresh text: equal hashes, one class. A class keeps its name with those of its
 * members who agree with each other, the most of them first, then the name that fewest ask for, so that a worker whose build was changed leaves its class and
 * not the others theirs. Two classes that agree become one for those in the round; the others are told apart in a later one.
 *
 * What a class is worth: equal hashes of a long text mean equal arithmetic (or a friend with that arithmetic who computes
 * for the worker, which is the same for a comparison). Unequal ones accuse nobody.
 */
export function sortIntoClasses(
  measured: readonly Measured[],
  nameOf: (hash: string) => string,
): ReadonlyMap<string, string> {
  const groups = Object.entries(Object.groupBy(measured, ({ hash }) => hash)).map(([hash, members = []]) => ({
    hash,
    members,
  }))
  const claims = groups
    .flatMap(({ hash, members }) => {
      const names = Object.groupBy(members, ({ before }) => before ?? '')
      return Object.entries(names).map(([name, those = []]) => ({
        hash,
        name,
        weight: those.length,
        of: members.length,
      }))
    })
    .filter(({ name }) => name !== '')
  const rivals = Object.groupBy(claims, ({ name }) => name)
  const rivalsOf = ({ name }: { name: string }) => rivals[name]?.length ?? 0
  claims.sort(
    (a, b) =>
      b.weight - a.weight || rivalsOf(a) - rivalsOf(b) || b.of - a.of || (a.name + a.hash < b.name + b.hash ? -1 : 1),
  )
  const names = new Map<string, string>()
  const taken = new Set<string>()
  for (const { hash, name } of claims) {
    if (names.has(hash) || taken.has(name)) continue
    names.set(hash, name)
    taken.add(name)
  }
  return new Map(measured.map(({ worker, hash }) => [worker, names.get(hash) ?? nameOf(hash)]))
}
