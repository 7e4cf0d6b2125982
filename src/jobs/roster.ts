import { type ModelOffer, payerSignatureFeature, upstreamInsideFeature, type WorkerId } from '#protocol'
import { type Lane, type LaneOffer, suits, type WorkerIndex } from '#scheduler'
import type { ConnectedWorker } from '#workers'

/** What the roster reads of a worker: the live object of the workers' room, always up to date. */
export type RosterWorker = Pick<
  ConnectedWorker,
  'id' | 'offers' | 'slots' | 'tokensPerSecond' | 'draining' | 'features' | 'operator'
>

/** Tokens per second of one slot that count as full weight; faster ones are treated as equal. */
const fastTokensPerSecond = 1_000
/** A worker that nothing is known of is taken for a typical one; before any was measured, for this. */
const typicalAtFirst = 30
/** Each failure in a row halves a worker's weight, down to 1/64: a broken idle worker must not swallow every request. */
const failuresCountedMax = 6
/** A speed that changed by less is not worth telling the index. */
const noticeableChange = 0.1

/** The kernel class of a worker with a model file, where the pool has measured it. */
export type KernelOf = (workerId: WorkerId, digest: string) => string | undefined

interface Member {
  worker: RosterWorker
  /** Beside each of its offers, what a lane may ask for. */
  offers: readonly (LaneOffer & { readonly offer: ModelOffer })[]
  failures: number
  weight: number
}

/** Keeps the scheduler's index true: who is here, with which models, how fast, how reliable of late. */
export class Roster {
  readonly #index: WorkerIndex
  readonly #members = new Map<string, Member>()
  readonly #kernelOf: KernelOf
  #typical = typicalAtFirst
  #version = 0

  constructor(index: WorkerIndex, kernelOf: KernelOf = () => undefined) {
    this.#index = index
    this.#kernelOf = kernelOf
  }

  /** Another one once a worker came, went or changed. */
  get version(): number {
    return this.#version
  }

  get size(): number {
    return this.#members.size
  }

  get(id: string): RosterWorker | undefined {
    return this.#members.get(id)?.worker
  }

  /** It may be given work, or something about it changed. */
  put(worker: RosterWorker): void {
    const failures = this.#members.get(worker.id)?.failures ?? 0
    this.#version++
    const member = { worker, offers: laneOffersOf(worker, this.#kernelOf), failures, weight: 0 }
    member.weight = this.#weightOf(member)
    this.#members.set(worker.id, member)
    this.#tell(member)
  }

  remove(id: string): void {
    this.#version++
    this.#members.delete(id)
    this.#index.remove(id)
  }

  /** A run ended there. Failures count until one succeeds. */
  ranWell(id: string, well: boolean): void {
    const member = this.#members.get(id)
    if (!member) return
    member.failures = well ? 0 : Math.min(failuresCountedMax, member.failures + 1)
    const weight = this.#weightOf(member)
    if (Math.abs(weight - member.weight) <= noticeableChange * member.weight) return
    member.weight = weight
    this.#tell(member)
  }

  /** A worker and the offer that put it into this lane. */
  offerFor(
    id: string,
    lane: Lane,
  ): { worker: RosterWorker; offer: ModelOffer; kernel: string | undefined } | undefined {
    const member = this.#members.get(id)
    const found = member?.offers.find((one) => suits(one, lane))
    return member && found && { worker: member.worker, offer: found.offer, kernel: found.kernel }
  }

  /** Whether it computes only what a payer's own key has ordered, and must be shown the order. */
  demandsPayer(id: string): boolean {
    return demandsPayer(this.#members.get(id)?.worker)
  }

  #weightOf({ worker, failures }: Member): number {
    const measured = worker.tokensPerSecond / worker.slots
    if (measured > 0) this.#typical += (measured - this.#typical) / 16
    const speed = measured > 0 ? measured : this.#typical
    return Math.min(1, Math.max(0.001, speed / fastTokensPerSecond)) / 2 ** failures
  }

  #tell({ worker, offers, weight }: Member): void {
    const { id, slots, draining } = worker
    this.#index.upsert({ id: id satisfies WorkerId, slots, draining, offers, weight })
  }
}

const demandsPayer = (worker: RosterWorker | undefined) => worker?.features.includes(payerSignatureFeature) === true

const inside = ['inside'] as const

/** Whether prompts stay with the worker: a model file is computed there, an upstream is another's server unless its operator says otherwise. */
const isInside = ({ features }: RosterWorker, { engine }: ModelOffer) =>
  engine !== 'openai' || features.includes(upstreamInsideFeature)

function laneOffersOf(worker: RosterWorker, kernelOf: KernelOf) {
  const custodial = demandsPayer(worker) ? [] : (['custodial'] as const)
  return worker.offers.map((offer) => {
    const { name, digest, features } = offer
    const more = [...custodial, ...(isInside(worker, offer) ? inside : [])]
    const kernel = digest === null ? undefined : kernelOf(worker.id, digest)
    return { name, digest, features: [...features, ...more], kernel, offer }
  })
}
