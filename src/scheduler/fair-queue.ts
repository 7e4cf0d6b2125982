import assert from 'node:assert/strict'
import { schedulerLimits } from './limits.ts'

/** One waiting item; hand it back to cancel. */
export interface Ticket<L, T> {
  readonly item: T
  readonly lane: L
  /** What serving it costs its key: expected tokens, or 1. */
  readonly cost: number
}

/** Why one more may not wait, or `undefined` for "come in". */
export type Fullness = 'pool_full' | 'key_full'

interface Node<L, T> extends Ticket<L, T> {
  /** Virtual time when it came, and its number among all that ever came. */
  readonly since: number
  readonly order: number
  line: Line<L, T> | undefined
  before: Node<L, T> | undefined
  after: Node<L, T> | undefined
}

/** What one key has waiting in one lane, oldest first: a linked list, so that cancelling costs nothing. */
interface Line<L, T> {
  readonly flow: Flow<L, T>
  readonly heap: LineHeap<L, T>
  at: number
  first: Node<L, T> | undefined
  last: Node<L, T> | undefined
  /** Virtual time at which its first item is due. */
  rank: number
}

interface Flow<L, T> {
  readonly key: string
  weight: number
  /** Virtual time up to which the key was served: cost served, divided by weight. */
  pass: number
  /** Admitted and not yet served, cancelled or withdrawn; the waiting ones among them. */
  admitted: number
  readonly lines: Map<L, Line<L, T>>
}

/** The earlier rank first; of equals whoever came first. */
function goesBefore<L, T>(a: Line<L, T>, b: Line<L, T>): boolean {
  return a.rank < b.rank || (a.rank === b.rank && (a.first?.order ?? 0) < (b.first?.order ?? 0))
}

/** The lines of one lane. */
class LineHeap<L, T> {
  readonly lines: Line<L, T>[] = []

  insert(line: Line<L, T>): void {
    this.#up(this.lines.push(line) - 1, line)
  }

  remove(line: Line<L, T>): void {
    const last = this.lines.pop() as Line<L, T>
    if (last === line) return
    this.#set(line.at, last)
    this.moved(last)
  }

  moved(line: Line<L, T>): void {
    this.#up(line.at, line)
    this.#down(line.at, line)
  }

  #set(at: number, line: Line<L, T>): void {
    this.lines[at] = line
    line.at = at
  }

  #up(from: number, line: Line<L, T>): void {
    let at = from
    while (at > 0) {
      const above = this.lines[(at - 1) >> 1] as Line<L, T>
      if (!goesBefore(line, above)) break
      this.#set(at, above)
      at = (at - 1) >> 1
    }
    this.#set(at, line)
  }

  #down(from: number, line: Line<L, T>): void {
    let at = from
    for (;;) {
      const left = this.lines[at * 2 + 1]
      const right = this.lines[at * 2 + 2]
      const least = left && right && goesBefore(right, left) ? right : left
      if (least === undefined || !goesBefore(least, line)) break
      const below = least.at
      this.#set(at, least)
      at = below
    }
    this.#set(at, line)
  }
}

/**
 * Waiting work, shared fairly between keys in proportion to their weights and bounded in total and per key.
 *
 * Start-time fair queueing (Goyal, Vin, Cheng 1996) with an allowance. Virtual time advances as those who wait would,
 * had each its share; a key's own time by what it is really served. An item is due at the virtual time of its arrival,
 * or, if its key is ahead of its share by more than the allowance, when virtual time has come that far. So keys within
 * their share are served first come, first served, a flood waits for itself, an idle or stuck key saves nothing up, and
 * a newcomer waits for the allowance and one item of each key at most. Without the allowance the order would punish
 * every honest burst, and the tail of all waits grows by 40 % (bench/scheduler.ts).
 *
 * Lanes are popped apart, so a model without a free worker blocks nobody else, but the keys' virtual times are one for
 * all lanes: asking for two models does not double a share.
 */
export class FairQueue<L, T> {
  readonly #flows = new Map<string, Flow<L, T>>()
  readonly #heaps = new Map<L, LineHeap<L, T>>()
  readonly #totalMax: number
  readonly #perKeyMax: number
  #allowance = 0
  #admitted = 0
  #waiting = 0
  #arrivals = 0
  #virtualTime = 0
  /** Weights of the keys that have something waiting. */
  #weights = 0
  #flowsBeforeForgetting = 1_024

  constructor(limits: { totalMax?: number | undefined; perKeyMax?: number | undefined } = {}) {
    this.#totalMax = limits.totalMax ?? schedulerLimits.queuedRunsMax
    this.#perKeyMax = limits.perKeyMax ?? Math.ceil(this.#totalMax * schedulerLimits.queuedRunsPerKeyShare)
  }

  /** Items waiting. */
  get size(): number {
    return this.#waiting
  }

  /** Items admitted, waiting ones included. */
  get admitted(): number {
    return this.#admitted
  }

  /** Cost by which all waiting keys together may be ahead of their shares before others go first. O(keys) to set. */
  set allowance(cost: number) {
    if (Math.abs(cost - this.#allowance) <= this.#allowance * 0.2) return
    this.#allowance = cost
    for (const flow of this.#flows.values()) this.#rerank(flow)
  }

  /**
   * Reserves room for `count` items of a key, to be pushed or withdrawn later; or says what is full. `spare` items more
   * may come because they will not have to wait.
   */
  admit(key: string, weight: number, count = 1, spare = 0): Fullness | undefined {
    assert(weight > 0, 'a share is positive')
    if (this.#admitted + count > this.#totalMax + spare) return 'pool_full'
    const known = this.#flows.get(key)
    if ((known?.admitted ?? 0) + count > this.#perKeyMax + spare) return 'key_full'
    const flow = known ?? { key, weight, pass: this.#virtualTime, admitted: 0, lines: new Map() }
    if (known === undefined) this.#flows.set(key, flow)
    if (flow.lines.size === 0) flow.weight = weight
    flow.admitted += count
    this.#admitted += count
    return undefined
  }

  /** Gives back reserved room: the item needed no waiting, or will never come. */
  withdraw(key: string, count = 1): void {
    const flow = this.#flows.get(key)
    assert(flow !== undefined && flow.admitted >= count, 'only what was admitted can be withdrawn')
    this.#leave(flow, count)
  }

  /** Waits in a lane, using up one admission. */
  push(lane: L, key: string, cost: number, item: T): Ticket<L, T> {
    const flow = this.#flows.get(key)
    assert(flow !== undefined && flow.admitted > 0, 'only what was admitted may wait')
    assert(cost > 0 && Number.isFinite(cost), 'serving costs something')
    const open = flow.lines.get(lane)
    const line = open ?? this.#newLine(flow, lane)
    const node: Node<L, T> = {
      item,
      lane,
      cost,
      since: this.#virtualTime,
      order: this.#arrivals++,
      line,
      before: line.last,
      after: undefined,
    }
    if (line.last) line.last.after = node
    else line.first = node
    line.last = node
    this.#waiting++
    if (!open) {
      line.rank = this.#rankOf(line)
      line.heap.insert(line)
    }
    return node
  }

  /** Virtual time of the next item of a lane; `undefined` when nothing waits there. Lower is more urgent. */
  rank(lane: L): number | undefined {
    return this.#heaps.get(lane)?.lines[0]?.rank
  }

  pop(lane: L): T | undefined {
    const line = this.#heaps.get(lane)?.lines[0]
    const node = line?.first
    if (line === undefined || node === undefined) return undefined
    const { flow, rank } = line
    // What everybody who waits would have got of this service, had it been shared out.
    this.#virtualTime = Math.max(this.#virtualTime, rank) + node.cost / this.#weights
    this.#unlink(node, line)
    flow.pass = Math.max(flow.pass, node.since) + node.cost / flow.weight
    this.#rerank(flow)
    this.#leave(flow, 1)
    return node.item
  }

  /** True if it was still waiting. O(log keys). */
  cancel(ticket: Ticket<L, T>): boolean {
    // Tickets are only made by push, which makes nodes.
    const node = ticket as Node<L, T>
    const line = node.line
    if (line === undefined) return false
    const wasFirst = line.first === node
    this.#unlink(node, line)
    if (wasFirst && line.first) this.#rerankLine(line)
    this.#leave(line.flow, 1)
    return true
  }

  /** Corrects what a key was charged once the true cost is known; `cost` may be negative. Forgotten keys owe nothing. */
  charge(key: string, cost: number): void {
    const flow = this.#flows.get(key)
    if (!flow) return
    flow.pass += cost / flow.weight
    this.#rerank(flow)
  }

  #newLine(flow: Flow<L, T>, lane: L): Line<L, T> {
    let heap = this.#heaps.get(lane)
    if (heap === undefined) {
      heap = new LineHeap()
      this.#heaps.set(lane, heap)
    }
    if (flow.lines.size === 0) this.#weights += flow.weight
    const line: Line<L, T> = { flow, heap, at: 0, first: undefined, last: undefined, rank: 0 }
    flow.lines.set(lane, line)
    return line
  }

  #unlink(node: Node<L, T>, line: Line<L, T>): void {
    if (node.before) node.before.after = node.after
    else line.first = node.after
    if (node.after) node.after.before = node.before
    else line.last = node.before
    node.line = node.before = node.after = undefined
    this.#waiting--
    if (line.first) return
    line.heap.remove(line)
    line.flow.lines.delete(node.lane)
    // Sums of fractions drift; an empty queue is the moment to be exact again.
    if (this.#waiting === 0) this.#weights = 0
    else if (line.flow.lines.size === 0) this.#weights -= line.flow.weight
    if (line.heap.lines.length === 0) this.#heaps.delete(node.lane)
  }

  #rankOf(line: Line<L, T>): number {
    return Math.max(line.first?.since ?? 0, line.flow.pass - this.#allowance / this.#weights)
  }

  #rerank(flow: Flow<L, T>): void {
    for (const line of flow.lines.values()) this.#rerankLine(line)
  }

  #rerankLine(line: Line<L, T>): void {
    line.rank = this.#rankOf(line)
    line.heap.moved(line)
  }

  /** When nobody is admitted the busy period is over and with it all debts. */
  #leave(flow: Flow<L, T>, count: number): void {
    flow.admitted -= count
    this.#admitted -= count
    if (this.#admitted === 0) this.#flows.clear()
    else if (this.#flows.size > this.#flowsBeforeForgetting) this.#forget()
  }

  /** Forgets keys that neither wait nor owe. Done when their number has doubled, so it costs O(1) per served item. */
  #forget(): void {
    for (const [key, flow] of this.#flows) {
      if (flow.admitted === 0 && flow.pass <= this.#virtualTime) this.#flows.delete(key)
    }
    this.#flowsBeforeForgetting = Math.max(1_024, this.#flows.size * 2)
  }
}
