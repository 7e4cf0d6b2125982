import type { PoolId } from '#protocol'
import { type Fact, forwardOnly, isBefore, type Stamp } from './fact.ts'

/** A fact under its hash; what decides needs no signature any more. */
export type NamedFact = Pick<Fact, 'author' | 'generation' | 'kind' | 'name' | 'prev' | 'ms' | 'count'> & {
  readonly hash: string
}
/** Facts by their hashes. It only grows, whatever comes in which order. */
export type FactSet<F extends NamedFact = NamedFact> = ReadonlyMap<string, F>

/** Two facts whose author contradicts itself. Both are signed, so the pair proves it to anybody. */
export interface Fault {
  readonly author: PoolId
  /** `fork`: both go on from the same fact. `order`: the second goes on from the first and is not later. */
  readonly kind: 'fork' | 'order'
  readonly facts: readonly [string, string]
}

/** All facts of both. The order, and how often, make no difference. */
export function joinFacts<F extends NamedFact>(a: FactSet<F>, b: FactSet<F>): FactSet<F> {
  return new Map([...a, ...b])
}

/** Every contradiction in these facts, in one order. `discarded`: facts a human has put aside, with what goes on from them. */
export function faultsOf(facts: FactSet, discarded: ReadonlySet<string> = new Set()): Fault[] {
  const left = withoutDiscarded(facts, discarded)
  const followers = new Map<string, NamedFact[]>()
  const faults: Fault[] = []
  for (const fact of left) {
    const place = `${fact.author} ${fact.generation} ${fact.prev}`
    add(followers, place, fact)
    const before = fact.prev === null ? undefined : facts.get(fact.prev)
    if (before && !goesOn(before, fact))
      faults.push({ author: fact.author, kind: 'order', facts: [before.hash, fact.hash] })
  }
  for (const group of followers.values()) {
    const [first, second] = group.toSorted((a, b) => (a.hash < b.hash ? -1 : 1))
    if (first && second) faults.push({ author: first.author, kind: 'fork', facts: [first.hash, second.hash] })
  }
  return faults.sort((a, b) => (a.facts.join() < b.facts.join() ? -1 : 1))
}

const goesOn = (before: NamedFact, after: NamedFact) =>
  before.author === after.author && before.generation <= after.generation && isBefore(before, after)

/** Facts that count: of an author who contradicts itself only those from before the first contradiction. */
export function countingFacts<F extends NamedFact>(facts: FactSet<F>, discarded: ReadonlySet<string> = new Set()): F[] {
  const ends = new Map<PoolId, Stamp>()
  for (const { author, kind, facts: pair } of faultsOf(facts, discarded)) {
    // of an `order` only the second stands where it must not; of a `fork` nobody knows which
    const from = pair.slice(kind === 'order' ? 1 : 0).flatMap((hash) => facts.get(hash) ?? [])
    for (const fact of from) {
      const end = ends.get(author)
      if (!end || isBefore(fact, end)) ends.set(author, fact)
    }
  }
  return withoutDiscarded(facts, discarded).filter((fact) => {
    const end = ends.get(fact.author)
    return !end || isBefore(fact, end)
  })
}

/** Which of two facts under one name of one author stands: the later; of kinds that only go forward, the earlier. */
export function standsOver(a: NamedFact, b: NamedFact): boolean {
  const later = isBefore(b, a) || (!isBefore(a, b) && a.hash > b.hash)
  return forwardOnly.has(a.kind) ? !later : later
}

/** What stands under each name of each author, taken-back and expired names left out; by author, kind and name. */
export function viewOf<F extends NamedFact & Pick<Fact, 'value' | 'expires'>>(
  facts: FactSet<F>,
  now: number,
  discarded: ReadonlySet<string> = new Set(),
): F[] {
  const standing = new Map<string, F>()
  for (const fact of countingFacts(facts, discarded)) {
    const key = keyOf(fact)
    const other = standing.get(key)
    if (!other || standsOver(fact, other)) standing.set(key, fact)
  }
  return [...standing.values()]
    .filter(({ value, expires }) => value !== null && (expires === null || expires > now))
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
}

const keyOf = ({ author, kind, name }: NamedFact) => `${author} ${kind} ${name}`

/** Without these facts and all that go on from them. */
function withoutDiscarded<F extends NamedFact>(facts: FactSet<F>, discarded: ReadonlySet<string>): F[] {
  if (discarded.size === 0) return [...facts.values()]
  const after = new Map<string, string[]>()
  for (const { prev, hash } of facts.values()) if (prev !== null) add(after, prev, hash)
  const gone = new Set(discarded)
  for (const hash of gone) for (const next of after.get(hash) ?? []) gone.add(next)
  return [...facts.values()].filter(({ hash }) => !gone.has(hash))
}

function add<T>(lists: Map<string, T[]>, key: string, one: T): void {
  const list = lists.get(key)
  if (list) list.push(one)
  else lists.set(key, [one])
}
