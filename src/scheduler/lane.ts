/** What a lane knows of a worker: its cost and where it stands. One object per worker and lane. */
export interface LaneMember {
  readonly workerId: string
  readonly lane: Lane
  /** Of the best of its offers that are in the lane. */
  readonly tier: number
  /** Position in the lane's heap. */
  at: number
}

/** Whether a worker may have a run, for reasons the index does not know. */
export type Admits = (workerId: string) => boolean

/** Nodes a walk from the root keeps in sight; beyond it one look at everybody is cheaper. */
const edgeMax = 128

/** Children per node. Four costs share a cache line, and the heap of 100,000 workers is 9 levels deep instead of 17. */
const arity = 4

/**
 * The workers that can take one kind of work (a model and the features a request needs), cheapest first.
 *
 * A 4-ary heap whose costs lie side by side, so that a decision touches few cache lines. Cost `Infinity` means no room.
 */
export class Lane {
  /** `name`, `name@digest` or `@digest`. */
  readonly modelKey: string
  /** Bits of `modelFeatures` that a worker must offer for the model. */
  readonly features: number
  /** Runs that were to be placed through it. */
  placed = 0
  #costs = new Float64Array(16)
  readonly #members: LaneMember[] = []

  constructor(modelKey: string, features: number) {
    this.modelKey = modelKey
    this.features = features
  }

  /** Connected workers that could do it, with room or without. */
  get size(): number {
    return this.#members.length
  }

  /** Everybody who stands in it. */
  *workerIds(): Generator<string> {
    for (const { workerId } of this.#members) yield workerId
  }

  add(workerId: string, cost: number, tier = 0): LaneMember {
    const at = this.#members.length
    if (at === this.#costs.length) {
      const grown = new Float64Array(at * 2)
      grown.set(this.#costs)
      this.#costs = grown
    }
    const member: LaneMember = { workerId, lane: this, tier, at }
    this.#members.push(member)
    this.#costs[at] = cost
    this.#up(at, member, cost)
    return member
  }

  remove(member: LaneMember): void {
    const last = this.#members.pop()
    if (last === undefined || last === member) return
    const cost = this.#costs[this.#members.length] as number
    this.#place(member.at, last, cost)
    this.update(last, cost)
  }

  update(member: LaneMember, cost: number): void {
    const parent = (member.at - 1) >> 2
    if (member.at > 0 && cost < (this.#costs[parent] as number)) this.#up(member.at, member, cost)
    else this.#down(member.at, member, cost)
  }

  costOf(member: LaneMember): number {
    return this.#costs[member.at] as number
  }

  /**
   * The cheapest worker with room that is not excluded and that `admits` allows. O(1) without exclusions, else O(arity · excluded); with `admits` at most
   * O(members), once those it turns away outnumber a few.
   */
  cheapest(excluded?: readonly string[], admits?: Admits): string | undefined {
    const top = this.#members[0]
    if (top === undefined || this.#costs[0] === Number.POSITIVE_INFINITY) return undefined
    if (!excluded?.includes(top.workerId) && (admits?.(top.workerId) ?? true)) return top.workerId
    return this.#cheapestBelow(excluded ?? [], admits)
  }

  /** Best-first walk from the root: only children of excluded workers are looked at. */
  #cheapestBelow(excluded: readonly string[], admits: Admits | undefined): string | undefined {
    const edge = [0]
    while (edge.length > 0) {
      if (edge.length > edgeMax) return this.#cheapestOfAll(excluded, admits)
      let best = 0
      for (let i = 1; i < edge.length; i++) {
        if ((this.#costs[edge[i] as number] as number) < (this.#costs[edge[best] as number] as number)) best = i
      }
      const at = edge[best] as number
      const member = this.#members[at] as LaneMember
      if (this.#costs[at] === Number.POSITIVE_INFINITY) return undefined
      if (!excluded.includes(member.workerId) && (admits?.(member.workerId) ?? true)) return member.workerId
      edge.splice(best, 1)
      const end = Math.min(at * arity + arity, this.#members.length - 1)
      for (let child = at * arity + 1; child <= end; child++) edge.push(child)
    }
    return undefined
  }

  #cheapestOfAll(excluded: readonly string[], admits: Admits | undefined): string | undefined {
    let least = Number.POSITIVE_INFINITY
    let found: string | undefined
    for (let at = 0; at < this.#members.length; at++) {
      const cost = this.#costs[at] as number
      const { workerId } = this.#members[at] as LaneMember
      if (cost >= least || excluded.includes(workerId) || !(admits?.(workerId) ?? true)) continue
      least = cost
      found = workerId
    }
    return found
  }

  #place(at: number, member: LaneMember, cost: number): void {
    this.#members[at] = member
    this.#costs[at] = cost
    member.at = at
  }

  #up(from: number, member: LaneMember, cost: number): void {
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 2
      const above = this.#costs[parent] as number
      if (above <= cost) break
      this.#place(at, this.#members[parent] as LaneMember, above)
      at = parent
    }
    this.#place(at, member, cost)
  }

  #down(from: number, member: LaneMember, cost: number): void {
    const count = this.#members.length
    let at = from
    for (;;) {
      const first = at * arity + 1
      if (first >= count) break
      let least = first
      let leastCost = this.#costs[first] as number
      const end = Math.min(first + arity, count)
      for (let child = first + 1; child < end; child++) {
        const childCost = this.#costs[child] as number
        if (childCost < leastCost) {
          least = child
          leastCost = childCost
        }
      }
      if (leastCost >= cost) break
      this.#place(at, this.#members[least] as LaneMember, leastCost)
      at = least
    }
    this.#place(at, member, cost)
  }
}
