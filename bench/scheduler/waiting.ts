import { featureBits, type Lane, Scheduler } from '#scheduler'
import { median, quantile, rng } from './statistics.ts'

/** One request of the simulated load. Times are seconds. */
interface Arrival {
  readonly at: number
  readonly key: string
  readonly work: number
  /** Its first worker fails it after so long, for one in a hundred. */
  readonly failsAfter: number | undefined
}

export interface WaitResult {
  readonly queue: string
  /** Seconds between arrival and the start of the attempt that answered. */
  readonly p50: number
  readonly p99: number
}

const chat = featureBits(['chat'])
const workers = 48
const slotsOf = (n: number) => 1 + (n % 8)
const slots = Array.from({ length: workers }, (_, n) => slotsOf(n)).reduce((sum, count) => sum + count, 0)
const meanWork = 2
const load = 0.95
const requests = 60_000

/** Poisson arrivals, exponential work: the whole pool is busy 95 % of the time. */
function arrivals(seed: number, keys: number): Arrival[] {
  const random = rng(seed)
  const exponential = (mean: number) => -Math.log(1 - random()) * mean
  let at = 0
  return Array.from({ length: requests }, () => {
    at += exponential(meanWork / (slots * load))
    const failsAfter = random() < 0.01 ? exponential(0.1) : undefined
    return { at, key: `key-${Math.floor(random() * keys)}`, work: exponential(meanWork), failsAfter }
  })
}

interface Event {
  readonly at: number
  readonly run: () => void
}

/** Discrete events in order of time. */
class Clock {
  readonly #heap: Event[] = []
  now = 0

  after(seconds: number, run: () => void): void {
    const event = { at: this.now + seconds, run }
    let at = this.#heap.push(event) - 1
    for (let up = (at - 1) >> 1; at > 0 && (this.#heap[up] as Event).at > event.at; up = (at - 1) >> 1) {
      this.#heap[at] = this.#heap[up] as Event
      at = up
    }
    this.#heap[at] = event
  }

  runAll(): void {
    for (let event = this.#pop(); event; event = this.#pop()) {
      this.now = event.at
      event.run()
    }
  }

  #pop(): Event | undefined {
    const [first] = this.#heap
    const last = this.#heap.pop()
    if (first === undefined || last === undefined || first === last) return first
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      const right = this.#heap[child + 1]
      const left = this.#heap[child]
      if (left && right && right.at < left.at) child++
      const least = this.#heap[child]
      if (!least || least.at >= last.at) break
      this.#heap[at] = least
      at = child
    }
    this.#heap[at] = last
    return first
  }
}

/** The ideal: one first-come-first-served queue before all slots, which know neither workers nor keys. */
function centralQueue(load: readonly Arrival[]): number[] {
  const clock = new Clock()
  const waits: number[] = []
  const queue: Arrival[] = []
  let head = 0
  let free = slots
  const next = () => {
    while (free > 0 && head < queue.length) start(queue[head++] as Arrival)
  }
  const end = () => {
    free++
    next()
  }
  const start = (one: Arrival) => {
    free--
    if (one.failsAfter !== undefined) {
      clock.after(one.failsAfter, () => {
        free++
        start({ ...one, failsAfter: undefined })
      })
      return
    }
    waits.push(clock.now - one.at)
    clock.after(one.work, end)
  }
  for (const one of load) {
    clock.after(one.at, () => {
      queue.push(one)
      next()
    })
  }
  clock.runAll()
  return waits
}

/** What the pool does: fair between keys, least loaded worker, a failed run goes first and elsewhere. */
function ourScheduler(load: readonly Arrival[]): number[] {
  const clock = new Clock()
  const waits: number[] = []
  const scheduler = new Scheduler<Arrival>({ totalMax: requests, perKeyMax: requests })
  for (let n = 0; n < workers; n++) {
    const offers = [{ name: 'moss', digest: null, features: ['chat' as const] }]
    scheduler.workers.upsert({ id: `worker-${n}`, slots: slotsOf(n), weight: 1, draining: false, offers })
  }
  const lane: Lane = scheduler.workers.lane('moss', chat)
  const freed = (workerId: string) => {
    scheduler.workers.release(workerId)
    for (let next = scheduler.next(workerId); next; next = scheduler.next(workerId)) start(next.item, workerId)
  }
  const start = (one: Arrival, workerId: string) => {
    if (one.failsAfter !== undefined) {
      clock.after(one.failsAfter, () => {
        const again = scheduler.resubmit(lane, [workerId], { ...one, failsAfter: undefined })
        if ('workerId' in again) start({ ...one, failsAfter: undefined }, again.workerId)
        freed(workerId)
      })
      return
    }
    waits.push(clock.now - one.at)
    clock.after(one.work, () => freed(workerId))
  }
  const tidy = () => {
    scheduler.tidy()
    if (waits.length < requests) clock.after(0.1, tidy)
  }
  tidy()
  for (const one of load) {
    clock.after(one.at, () => {
      if (scheduler.admit(one.key, 1, 1)) throw new Error('the queue is as long as the load')
      const placed = scheduler.submit(lane, { key: one.key, cost: 1 }, one)
      if ('workerId' in placed) start(one, placed.workerId)
    })
  }
  clock.runAll()
  return waits
}

/** For scale: every worker has a queue of its own, and requests go to the shorter of two drawn at random. */
function queuePerWorker(load: readonly Arrival[]): number[] {
  const clock = new Clock()
  const waits: number[] = []
  const random = rng(99)
  const lines = Array.from({ length: workers }, (_, n) => ({
    free: slotsOf(n),
    slots: slotsOf(n),
    queue: [] as Arrival[],
  }))
  const draw = () => lines[Math.floor(random() * workers)] as (typeof lines)[number]
  const loadOf = (line: (typeof lines)[number]) => (line.queue.length + line.slots - line.free) / line.slots
  const next = (line: (typeof lines)[number]) => {
    const one = line.free > 0 ? line.queue.shift() : undefined
    if (!one) return
    line.free--
    waits.push(clock.now - one.at)
    clock.after(one.work, () => {
      line.free++
      next(line)
    })
  }
  for (const one of load) {
    clock.after(one.at, () => {
      const [a, b] = [draw(), draw()]
      const line = loadOf(a) <= loadOf(b) ? a : b
      line.queue.push(one)
      next(line)
    })
  }
  clock.runAll()
  return waits
}

export interface WaitComparison {
  readonly keys: number
  readonly results: readonly WaitResult[]
  /** p99 of ours over p99 of the ideal, median of the loads. */
  readonly p99Ratio: number
}

export const simulatedLoad = { requests, workers, slots, meanWorkSeconds: meanWork, utilisation: load, failing: 0.01 }

/** The three queues under the same loads, each load one seed. */
export function compareWaits(keys: number, seeds: readonly number[]): WaitComparison {
  const queues = { ideal: centralQueue, ours: ourScheduler, perWorker: queuePerWorker }
  const seen = { ideal: [] as WaitResult[], ours: [] as WaitResult[], perWorker: [] as WaitResult[] }
  for (const seed of seeds) {
    const one = arrivals(seed, keys)
    for (const queue of ['ideal', 'ours', 'perWorker'] as const) {
      const waits = queues[queue](one)
      if (waits.length !== requests) throw new Error(`${queue} answered ${waits.length} of ${requests}`)
      seen[queue].push({ queue, p50: quantile(waits, 0.5), p99: quantile(waits, 0.99) })
    }
  }
  const results = Object.entries(seen).map(([queue, all]) => ({
    queue,
    p50: median(all.map((one) => one.p50)),
    p99: median(all.map((one) => one.p99)),
  }))
  return { keys, results, p99Ratio: median(seeds.map((_, n) => (seen.ours[n]?.p99 ?? 0) / (seen.ideal[n]?.p99 ?? 1))) }
}
