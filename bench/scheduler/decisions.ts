import { featureBits, prefixKeys, type WorkerCapacity, WorkerIndex } from '#scheduler'
import { median, rng } from './statistics.ts'

export interface DecisionCost {
  readonly workers: number
  /** Choosing a worker and taking its slot, nanoseconds of CPU, median of the rounds. */
  readonly decisionNs: number
  /** The same and giving a slot back. */
  readonly cycleNs: number
  /** A decision for a run that two workers already failed. */
  readonly excludingNs: number
  /** Remembering a conversation and deciding by it, while its worker has room and when it has none any more. */
  readonly affinityNs: number
}

const chat = featureBits(['chat'])
const decisionsPerRound = 200_000
const rounds = 7
/** Decisions between two reads of the clock; as many slots are given back in between. */
const burst = 500

function worker(n: number, random: () => number): WorkerCapacity {
  return {
    id: n.toString(16).padStart(64, '0'),
    slots: 4 + Math.floor(random() * 13),
    weight: 0.05 + 0.95 * random(),
    draining: false,
    offers: [{ name: 'moss', digest: 'd1'.repeat(32), features: ['chat', 'completion', 'resume'] }],
  }
}

/** An index at two thirds of its capacity, as a busy pool has it, and what runs there. */
class BusyIndex {
  readonly index = new WorkerIndex()
  readonly running: string[] = []
  readonly random = rng(7)
  readonly lane

  constructor(workers: number) {
    let slots = 0
    for (let n = 0; n < workers; n++) {
      const one = worker(n, this.random)
      slots += one.slots
      this.index.upsert(one)
    }
    this.lane = this.index.lane('moss', chat)
    while (this.running.length < (slots * 2) / 3) this.decide()
  }

  decide(excluded?: readonly string[], prefix?: readonly string[]): void {
    const id = this.index.choose(this.lane, { excluded, prefix })
    if (id === undefined) throw new Error('a busy index always has room')
    this.index.take(id)
    this.running.push(id)
  }

  /** Ends a run anywhere. */
  end(): void {
    const at = Math.floor(this.random() * this.running.length)
    const id = this.running[at] as string
    this.running[at] = this.running.at(-1) as string
    this.running.pop()
    this.index.release(id)
  }
}

/** CPU time of this process so far, microseconds: other programs on the machine do not count. */
function cpuMicros(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** Nanoseconds per decision, and per decision with the slot given back. */
function time(busy: BusyIndex, size: number, decide: () => void): { decision: number; cycle: number } {
  let deciding = 0
  const startedAt = cpuMicros()
  for (let done = 0; done < decisionsPerRound; done += size) {
    const from = cpuMicros()
    for (let i = 0; i < size; i++) decide()
    deciding += cpuMicros() - from
    for (let i = 0; i < size; i++) busy.end()
  }
  const all = cpuMicros() - startedAt
  return { decision: (deciding * 1e3) / decisionsPerRound, cycle: (all * 1e3) / decisionsPerRound }
}

export function decisionCost(workers: number): DecisionCost {
  const busy = new BusyIndex(workers)
  const size = Math.min(burst, workers)
  const excluded = [0, 1].map((n) => n.toString(16).padStart(64, '0'))
  const prefix = prefixKeys('key', ['user: hello'])
  const results = {
    decision: [] as number[],
    cycle: [] as number[],
    excluding: [] as number[],
    affinity: [] as number[],
  }
  for (let round = 0; round <= rounds; round++) {
    const plain = time(busy, size, () => busy.decide())
    const excluding = time(busy, size, () => busy.decide(excluded))
    const affinity = time(busy, size, () => {
      busy.index.remember(prefix, busy.running[0] as string)
      busy.decide(undefined, prefix)
    })
    // The first round warms up.
    if (round === 0) continue
    results.decision.push(plain.decision)
    results.cycle.push(plain.cycle)
    results.excluding.push(excluding.decision)
    results.affinity.push(affinity.decision)
  }
  return {
    workers,
    decisionNs: Math.round(median(results.decision)),
    cycleNs: Math.round(median(results.cycle)),
    excludingNs: Math.round(median(results.excluding)),
    affinityNs: Math.round(median(results.affinity)),
  }
}
