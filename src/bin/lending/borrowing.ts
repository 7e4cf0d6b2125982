import { OfferedModels } from '#api'
import { type Identity, identityFromSeed, sha256 } from '#crypto'
import { type Aside, type Federation, federationLimits, type Peer, successShare } from '#federation'
import type { Jobs } from '#jobs'
import type { Ledger } from '#ledger'
import type { PoolId, Refusal, WorkerId } from '#protocol'
import type { Runtime } from '#runtime'
import type { RunHandle, RunOrder, RunSink } from '#workers'
import { borrowRun } from './borrow-run.ts'
import { offersOf, type PeerOffer } from './peer-offers.ts'
import type { RemoteReceipts } from './remote-receipts.ts'

interface Options {
  readonly runtime: Runtime
  readonly federation: Federation
  readonly pool: Identity
  readonly jobs: Pick<Jobs, 'workerAvailable' | 'workerGone' | 'load'>
  readonly prices: Ledger['prices']
  /** Whether a worker here offers the model. */
  readonly isHere: (model: string) => boolean
  /** Whether requests may leave this pool at all. */
  readonly forwards: () => boolean
  /** Requests that wait here before others are asked although a worker here has the model. */
  readonly queueMax: number
  readonly receipts: RemoteReceipts
  readonly onProblem: (error: unknown) => void
}

interface Borrowed {
  readonly peer: PoolId
  /** What the roster was told, so that it is told changes only. */
  told: string
}

/** How often it is looked who is there and how long the queue is. */
const lookMs = 250
/** A worker here that has gone is waited for so long before its model counts as one that only other pools have. */
const backMsMax = 60_000

/** `seenAt`: milliseconds since 1970; 0: never since this pool began. */
function modelAway(model: string, { id, name, url }: Peer, { seenAt, aside, reachable }: Away): Refusal {
  const refused = aside?.why === 'refused' && reachable
  const how = refused
    ? `which takes no job of this pool now: ${aside.message}`
    : seenAt === 0
      ? 'not reached since this pool began'
      : `unreachable since ${new Date(seenAt).toISOString()}`
  return {
    code: 'model_away',
    message: `The model ${JSON.stringify(model)} is at pool ${name || url} (${id.slice(0, 12)}), ${how}.`,
    fix: 'Try again later, or ask GET /v1/models for what is there now; who runs this pool sees why with `lichen fed show`.',
    retryAfterMs: refused
      ? federationLimits.refusedPauseMs
      : reachable
        ? federationLimits.lookAgainMsMax
        : federationLimits.heartbeatMs,
    param: 'model',
  }
}

interface Away {
  readonly seenAt: number
  readonly reachable: boolean
  readonly aside: Aside | undefined
}

/**
 * Other pools as workers of this one: those that are trusted with jobs, were seen lately, offer what is missing here (or anything, while the
 * queue is long), and ask no more than a client here pays.
 */
export class Borrowing implements Disposable {
  readonly #o: Options
  readonly #lenders = new Map<WorkerId, Borrowed>()
  /** Every worker of the roster that ever was a pool: what it computed is still to be settled. */
  readonly #peers = new Map<string, PoolId>()
  /** What may be asked of them, each pool counted as one worker. */
  readonly models: OfferedModels
  readonly #bridges = new Map<PoolId, Identity>()
  readonly #stops: (() => void)[] = []
  /** When a worker here was last seen with a model that other pools have, too (monotonic). */
  readonly #hereAt = new Map<string, number>()
  #looking: Promise<void> | undefined
  #shares: ReadonlyMap<PoolId, number> = new Map()
  #sharesAt = Number.NEGATIVE_INFINITY

  constructor(options: Options) {
    this.#o = options
    this.models = new OfferedModels(options.runtime)
    const look = options.runtime.every(lookMs, () => {
      if (!this.#looking) void this.look().catch(options.onProblem)
    })
    this.#stops.push(() => look.cancel())
  }

  [Symbol.dispose](): void {
    for (const stop of this.#stops.splice(0)) stop()
    for (const id of [...this.#lenders.keys()]) this.#gone(id)
  }

  /** The pool behind a worker that is one, or that is this pool's bridge to one; also of what another process of this pool has sent there. */
  peerOf(workerId: string): PoolId | undefined {
    return this.#peers.get(workerId) ?? this.#o.federation.peers.get(workerId as PoolId)?.id
  }

  /** How much of a peer's work came to something of late, 0 … 1; a newcomer stands in the middle. */
  shareOf(peer: PoolId): number {
    return this.#shares.get(peer) ?? 0.5
  }

  dispatch(id: WorkerId, order: RunOrder, sink: RunSink): RunHandle {
    const { federation, forwards, pool, receipts, onProblem } = this.#o
    const peerId = this.#peers.get(id)
    const peer = peerId && federation.peers.get(peerId)
    if (!peer || peer.trust < 2 || !forwards()) {
      queueMicrotask(() => sink.lost('nothing goes to it any more'))
      return { cancel() {}, consumed() {} }
    }
    const lender = { id: peer.id, callee: { url: peer.url, known: peer }, bridge: this.#bridgeTo(peer.id) }
    return borrowRun(
      {
        outbound: federation.outbound,
        self: pool.id as PoolId,
        onSent: (peerId, lease, jobId) => receipts.sent(peerId, lease, jobId),
        onEnded: (peerId, lease) => receipts.ended(peerId, lease),
        onForged: (peerId, why) => void federation.records.note(peerId, 'mismatch', why).catch(onProblem),
        onUnreached: (peerId, why) => {
          federation.heartbeats.unreached(peerId, why)
          this.#gone(id)
        },
        onRefused: (peerId, why) => {
          federation.heartbeats.refused(peerId, why)
          this.#gone(id)
        },
      },
      lender,
      order,
      sink,
    )
  }

  /**
   * Why a model that is at other pools alone cannot be asked for: none of them has been there lately. Undefined where a worker here had it a
   * moment ago (it may come back), where somebody can be asked, or nobody has it.
   */
  whyAway(model: string): Refusal | undefined {
    const { federation, forwards, isHere, runtime } = this.#o
    const hereAt = this.#hereAt.get(model) ?? Number.NEGATIVE_INFINITY
    if (!forwards() || isHere(model) || runtime.monotonic() - hereAt < backMsMax) return undefined
    const having = federation.peers
      .list()
      .filter(({ trust, revoked, capabilities, version }) => {
        return trust >= 2 && !revoked && offersOf(capabilities, version).some(({ offer }) => offer.name === model)
      })
      .map((peer) => ({ peer, ...this.#awayOf(peer) }))
    if (having.some(({ reachable, aside }) => reachable && !aside)) return undefined
    const [last] = having.sort((a, b) => b.seenAt - a.seenAt)
    return last && modelAway(model, last.peer, last)
  }

  #awayOf({ id }: Peer): Away {
    const { heartbeats } = this.#o.federation
    return {
      seenAt: heartbeats.of(id).seenAt ?? 0,
      reachable: heartbeats.isReachable(id),
      aside: heartbeats.whyAside(id),
    }
  }

  /** Tells the roster who may be asked now, and for what. A look that is under way may have missed what is new: it is waited for, not joined. */
  async look(): Promise<void> {
    while (this.#looking) await this.#looking.catch(() => {})
    this.#looking = this.#lookAround().finally(() => {
      this.#looking = undefined
    })
    await this.#looking
  }

  async #lookAround(): Promise<void> {
    await this.#readShares()
    const { federation, forwards, jobs, queueMax } = this.#o
    const isLong = jobs.load.queued > queueMax
    const there = new Set<WorkerId>()
    for (const peer of forwards() ? federation.peers.list() : []) {
      if (peer.trust < 2 || peer.revoked) continue
      // A pool stands in the roster as a worker whose key is the pool's or its bridge's: both ids are the hash of a key.
      const id = (peer.version === 2 ? peer.id : this.#bridgeTo(peer.id).id) as unknown as WorkerId
      this.#peers.set(id, peer.id)
      const offers = await this.#wanted(peer, isLong)
      const { reachable, aside } = this.#awayOf(peer)
      if (offers.length === 0 || !reachable || aside) continue
      there.add(id)
      this.#tell(id, peer, offers)
    }
    for (const id of [...this.#lenders.keys()]) if (!there.has(id)) this.#gone(id)
  }

  async #wanted(peer: Peer, isLong: boolean): Promise<PeerOffer[]> {
    const wanted: PeerOffer[] = []
    for (const one of offersOf(peer.capabilities, peer.version)) {
      if (this.#o.isHere(one.offer.name)) this.#hereAt.set(one.offer.name, this.#o.runtime.monotonic())
      if (this.#o.isHere(one.offer.name) && !isLong) continue
      const { prompt, completion } = await this.#o.prices.for(one.offer.name)
      const dear = one.prices && (one.prices.prompt > prompt || one.prices.completion > completion)
      if (!dear) wanted.push(one)
    }
    return wanted
  }

  #tell(id: WorkerId, peer: Peer, wanted: readonly PeerOffer[]): void {
    const told = JSON.stringify(wanted.map(({ offer, workers }) => [offer, workers]))
    if (this.#lenders.get(id)?.told === told) return
    this.#lenders.set(id, { peer: peer.id, told })
    this.models.put({ id, draining: false, offers: wanted.map(({ offer }) => offer) })
    this.#o.jobs.workerAvailable({
      id,
      operator: `pool ${peer.id}`,
      offers: wanted.map(({ offer }) => offer),
      slots: Math.max(1, ...wanted.map(({ workers }) => workers)),
      tokensPerSecond: 0,
      draining: false,
      features: [],
      elsewhere: true,
    })
  }

  /** It takes nothing new; what runs may end. */
  #gone(id: WorkerId): void {
    if (!this.#lenders.delete(id)) return
    this.models.remove(id)
    this.#o.jobs.workerGone(id)
  }

  async #readShares(): Promise<void> {
    const now = this.#o.runtime.monotonic()
    if (now - this.#sharesAt < 5_000) return
    this.#sharesAt = now
    const records = await this.#o.federation.records.read()
    this.#shares = new Map([...records].map(([id, { lately }]) => [id, successShare(lately)]))
  }

  /** Known to nobody else: this pool's own word about what a version 1 pool said. */
  #bridgeTo(peer: PoolId): Identity {
    const known = this.#bridges.get(peer)
    if (known) return known
    const bridge = identityFromSeed(sha256(Buffer.from('lichen/bridge/1\n'), this.#o.pool.seed, Buffer.from(peer)))
    this.#bridges.set(peer, bridge)
    return bridge
  }
}
