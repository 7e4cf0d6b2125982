import { type ModelOffer, payerSignatureFeature, upstreamInsideFeature, type WorkerId } from '#protocol'
import { type Lane, type LaneOffer, suits, type WorkerIndex } from '#scheduler'
import type { ConnectedWorker } from '#workers'

/** What the roster reads of a worker: the live object of the workers' room, always up to date. */
export type RosterWorker = Pick<
  ConnectedWorker,
  'id' | 'offers' | 'slots' | 'tokensPerSecond' | 'draining' | 'features' | 'operator'
> & {
  /** Another pool that lends its workers: it takes only what may leave this one. */
  readonly elsewhere?: boolean
}

/** Tokens per second of one slot that count as full weight; faster ones are treated as equal. */
const fastTokensPerSecond = 1_000
/** A worker that nothing is known of is taken for a typical one; before any was measured, for this. */
const typicalAtFirst = 30
/** Each failure in a row halves a worker's weight, down to 1/64: a broken idle worker must not swallow every request. */
const failuresCountedMax = 6
/** A worker that is hardly trusted still has a weight; who gets none is barred. */
const leastTrust = 0.01
/** A speed that changed by less is not worth telling the index. */
const noticeableChange = 0.1

/** The kernel class of a worker with a model file, where the pool has measured it. */
export type KernelOf = (workerId: WorkerId, digest: string) => string | undefined

/** What checks say of a worker with a model; see `StandingView` of verification. */
export interface Trust {
  /** 0 … 1: its share of good answers is above it with 95 % probability. 0: no work. */
  readonly weight: number
  /** Requests it may have at once. */
  readonly runsMax: number
  /** It has yet to prove itself: all it answers is checked, and it gets its turn before those of better name. */
  readonly newcomer: boolean
  /** Believed without a look, as the pool's own is: what can be seen of its answers does not matter. */
  readonly isOwn?: boolean | undefined
}
export type TrustOf = (workerId: WorkerId, model: string) => Trust

/** Where nobody checks, nobody is trusted more than others. */
const alike: Trust = { weight: 1, runsMax: Number.MAX_SAFE_INTEGER, newcomer: false, isOwn: true }

interface Member {
  worker: RosterWorker
  /** Beside each of its offers, what a lane may ask for. */
  offers: readonly (LaneOffer & { readonly offer: ModelOffer })[]
  failures: number
  weight: number
  trust: Trust
}

/** Keeps the scheduler's index true: who is here, with which models, how fast, how reliable of late. */
export class Roster {
  readonly #index: WorkerIndex
  readonly #members = new Map<string, Member>()
  readonly #kernelOf: KernelOf
  readonly #trustOf: TrustOf | undefined
  #typical = typicalAtFirst
  #version = 0

  constructor(index: WorkerIndex, kernelOf: KernelOf = () => undefined, trustOf?: TrustOf) {
    this.#index = index
    this.#kernelOf = kernelOf
    this.#trustOf = trustOf
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
    const trust = this.#trustIn(worker)
    const member = { worker, offers: laneOffersOf(worker, this.#kernelOf, trust), failures, weight: 0, trust }
    member.weight = this.#weightOf(member)
    this.#members.set(worker.id, member)
    this.#tell(member)
  }

  remove(id: string): void {
    this.#version++
    this.#members.delete(id)
    this.#index.remove(id)
  }

  /** What is thought of some workers, or of all, changed. Gives those who may have more work now. */
  trustChanged(id: string | undefined): readonly WorkerId[] {
    const members = id === undefined ? [...this.#members.values()] : [this.#members.get(id) ?? []].flat()
    return members.flatMap((member) => {
      const { trust, worker } = member
      const now = this.#trustIn(worker)
      if (now.weight === trust.weight && now.runsMax === trust.runsMax && now.newcomer === trust.newcomer) return []
      this.#version++
      member.trust = now
      if (now.newcomer !== trust.newcomer) member.offers = laneOffersOf(worker, this.#kernelOf, now)
      member.weight = this.#weightOf(member)
      this.#tell(member)
      return now.runsMax > trust.runsMax ? [worker.id] : []
    })
  }

  /** The least that is thought of it with any of its models: it is one machine in one pair of hands. */
  #trustIn({ id, offers }: RosterWorker): Trust {
    if (!this.#trustOf) return alike
    let { weight, runsMax, newcomer } = alike
    let isOwn = true
    for (const { name } of offers) {
      const trust = this.#trustOf(id, name)
      weight = Math.min(weight, trust.weight)
      runsMax = Math.min(runsMax, trust.runsMax)
      newcomer ||= trust.newcomer
      isOwn &&= trust.isOwn === true
    }
    return { weight, runsMax, newcomer, isOwn }
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

  #weightOf({ worker, failures, trust }: Member): number {
    const measured = worker.tokensPerSecond / worker.slots
    if (measured > 0) this.#typical += (measured - this.#typical) / 16
    const speed = measured > 0 ? measured : this.#typical
    const share = Math.min(1, Math.max(0.001, speed / fastTokensPerSecond)) / 2 ** failures
    return share * Math.max(leastTrust, trust.weight)
  }

  #tell({ worker, offers, weight, trust }: Member): void {
    const barred = trust.runsMax < 1 || trust.weight <= 0
    const slots = Math.max(1, Math.min(worker.slots, trust.runsMax))
    this.#index.upsert({ id: worker.id satisfies WorkerId, slots, draining: worker.draining || barred, offers, weight })
  }
}

const demandsPayer = (worker: RosterWorker | undefined) => worker?.features.includes(payerSignatureFeature) === true

const inside = ['inside'] as const
const here = ['here'] as const
const lent = ['lent'] as const
/** Whom the pool's own workers belong to. */
const ownOperator = 'self'

/** Whether prompts stay with the worker: a model file is computed there, an upstream is another's server unless its operator says otherwise. */
const isInside = ({ features, elsewhere }: RosterWorker, { engine }: ModelOffer) =>
  elsewhere !== true && (engine !== 'openai' || features.includes(upstreamInsideFeature))

/**
 * The less a look can show, the later it is asked: who computes a model file comes before an upstream that shows probabilities, and
 * that before one of which nothing can be seen.
 */
function tierOf({ digest, features }: ModelOffer): number {
  if (digest !== null) return 0
  return features.includes('continue') ? 1 : 2
}

function laneOffersOf(worker: RosterWorker, kernelOf: KernelOf, { newcomer, isOwn }: Trust) {
  const custodial = demandsPayer(worker) ? [] : (['custodial'] as const)
  return worker.offers.map((offer) => {
    const { name, digest, features } = offer
    const more = [
      ...custodial,
      ...(isInside(worker, offer) ? inside : []),
      ...(worker.elsewhere ? [] : here),
      ...(worker.operator === ownOperator ? [] : lent),
      ...(newcomer ? (['newcomer'] as const) : []),
    ]
    const kernel = digest === null ? undefined : kernelOf(worker.id, digest)
    return { name, digest, features: [...features, ...more], kernel, tier: isOwn ? 0 : tierOf(offer), offer }
  })
}
