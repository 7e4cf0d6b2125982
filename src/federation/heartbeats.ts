import { canonicalize } from '#crypto'
import type { PoolId } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { lendingFrom } from './decide-trust.ts'
import { federationLimits } from './limits.ts'
import { lookAt, type NotSeen } from './meet.ts'
import type { Outbound } from './outbound.ts'
import type { Peer, Peers } from './peers.ts'

/** How a peer was found at its address. */
export interface Health {
  /** Milliseconds since 1970; null: never since this process began. */
  readonly seenAt: number | null
  readonly tookMs: number | null
  /** Why the last look found nobody; null: it found the peer. */
  readonly problem: string | null
}

interface Options {
  readonly runtime: Runtime
  readonly peers: Peers
  readonly outbound: Outbound
  /** Whether anybody is to be called at all now. */
  readonly mayCall: () => boolean
  /** After a look that found the peer. */
  readonly onSeen: (id: PoolId) => Promise<void>
  /** Another answers at the address of a peer: whether its key has named it. A sentence for the humans here, if so. */
  readonly whoElse?: (peer: Peer, signal: AbortSignal) => Promise<string | undefined>
  readonly onReach: (event: Reach) => void
  readonly onProblem: (error: unknown) => void
}

/** A pool that may be sent jobs was lost, or is found again. */
export interface Reach {
  readonly peer: PoolId
  /** Why it is not reached; null: it is again. */
  readonly problem: string | null
}

/** A peer that may be sent jobs, and just now is sent none. */
export interface Aside {
  /** `refused`: it is there and takes none of this pool's. */
  readonly why: 'unreached' | 'refused'
  readonly message: string
  /** Monotonic milliseconds. */
  readonly since: number
}

const never: Health = { seenAt: null, tookMs: null, problem: null }

/**
 * Looks every 30 s whether the pools this one trusts are at their addresses, and are who they were.
 *
 *   asked ──a call that reaches nobody, a look that finds nobody──▶ aside ──a look that finds it──▶ asked
 *     └──────────it says that it takes no jobs──▶ aside ──2 s, or it shakes hands──▶ asked
 */
export class Heartbeats implements Disposable {
  readonly #o: Options
  readonly #health = new Map<PoolId, Health>()
  readonly #aside = new Map<PoolId, Aside>()
  /** When the last look at a peer began (monotonic), and when the next one is to, where it is not with the beat. */
  readonly #lookedAt = new Map<PoolId, number>()
  readonly #looking = new Set<PoolId>()
  readonly #next = new Map<PoolId, Timer>()
  readonly #timer: Timer
  readonly #ending = new AbortController()
  #beating = false

  constructor(options: Options) {
    this.#o = options
    this.#timer = options.runtime.every(federationLimits.heartbeatMs, () => void this.beat().catch(options.onProblem))
  }

  [Symbol.dispose](): void {
    this.#timer.cancel()
    for (const timer of this.#next.values()) timer.cancel()
    this.#ending.abort()
  }

  of(id: PoolId): Health {
    return this.#health.get(id) ?? never
  }

  /** Seen within the last two minutes. */
  isReachable(id: PoolId): boolean {
    const { seenAt } = this.of(id)
    return seenAt !== null && this.#o.runtime.now() - seenAt < federationLimits.unreachableMs
  }

  /** Why a peer that may be sent jobs is sent none just now. Undefined: it is, if it {@link isReachable}. */
  whyAside(id: PoolId): Aside | undefined {
    return this.#aside.get(id)
  }

  /** A call has reached nobody: nothing is sent there until a look finds it again. The first is made now. */
  unreached(id: PoolId, message: string): void {
    this.#put(id, 'unreached', message)
    this.soon(id)
  }

  /** It was there and would take no job: it is asked again in a moment. */
  refused(id: PoolId, message: string): void {
    if (this.#aside.get(id)?.why === 'unreached' || this.#ending.signal.aborted) return
    const aside = this.#put(id, 'refused', message)
    this.#o.runtime.after(federationLimits.refusedPauseMs, () => {
      if (this.#aside.get(id) === aside) this.#aside.delete(id)
    })
  }

  /** It has knocked here: perhaps it can be reached again, or takes jobs. */
  heard(id: PoolId): void {
    const aside = this.#aside.get(id)
    if (aside?.why === 'refused') this.#aside.delete(id)
    else if (aside) this.soon(id)
  }

  /** A look in the background, a second after the last one at the earliest. */
  soon(id: PoolId, pauseMs = 0): void {
    const { runtime, mayCall, onProblem } = this.#o
    if (this.#ending.signal.aborted) return
    const since = runtime.monotonic() - (this.#lookedAt.get(id) ?? Number.NEGATIVE_INFINITY)
    this.#next.get(id)?.cancel()
    const look = async () => {
      this.#next.delete(id)
      const peer = this.#o.peers.get(id)
      if (peer && isLending(peer) && mayCall() && !this.#looking.has(id)) await this.look(peer)
    }
    const timer = runtime.after(Math.max(pauseMs, federationLimits.lookAgainMsMin - since), () => {
      void look().catch((error) => {
        if (!this.#ending.signal.aborted) onProblem(error)
      })
    })
    this.#next.set(id, timer)
  }

  /** One round over all pools with trust 2 and more, some at once. */
  async beat(): Promise<void> {
    if (this.#beating || !this.#o.mayCall()) return
    this.#beating = true
    try {
      const left = this.#o.peers.list().filter(isLending)
      const walk = async () => {
        for (let peer = left.pop(); peer && !this.#ending.signal.aborted; peer = left.pop()) await this.look(peer)
      }
      await Promise.all(Array.from({ length: federationLimits.heartbeatsAtOnceMax }, walk))
    } finally {
      this.#beating = false
    }
  }

  /** Who answers at the address of this peer? A version 2 peer says it signed; of version 1 the key it shows is compared. */
  async look(peer: Peer): Promise<Health> {
    this.#lookedAt.set(peer.id, this.#o.runtime.monotonic())
    this.#looking.add(peer.id)
    try {
      return await this.#look(peer)
    } finally {
      this.#looking.delete(peer.id)
    }
  }

  async #look(peer: Peer): Promise<Health> {
    const since = this.#o.runtime.monotonic()
    const to = peer.version === 2 ? { url: peer.url, known: peer } : { url: peer.url }
    const seen = await lookAt(this.#o.outbound, to, { expected: peer.id, signal: this.#ending.signal })
    const other = seen.ok ? undefined : await this.#whoElse(peer, seen.code)
    const before = this.of(peer.id)
    const now = this.#o.runtime.now()
    const health: Health = seen.ok
      ? { seenAt: now, tookMs: this.#o.runtime.monotonic() - since, problem: null }
      : { ...before, problem: other ?? seen.message }
    this.#health.set(peer.id, health)
    if (!seen.ok) {
      if (!ownDoing.includes(seen.code)) this.#notFound(peer.id, health.problem ?? '')
      return health
    }
    if (seen.version === 2 && peer.version === 1) await this.#o.peers.markOffersV2(peer.id)
    const { molecule_id, ...said } = seen.introduction
    const moleculeId = molecule_id ?? ''
    if (changed(peer, { ...said, moleculeId, url: peer.url }))
      await this.#o.peers.introduce(peer.id, seen.key, { ...said, moleculeId, url: peer.url })
    if (this.#aside.get(peer.id)?.why === 'unreached') {
      this.#aside.delete(peer.id)
      this.#o.onReach({ peer: peer.id, problem: null })
    }
    await this.#o.onSeen(peer.id)
    return health
  }

  /** Looked for again after 1 s, then after as long as it has been aside, at most 8 s, until it has been away for two minutes. */
  #notFound(id: PoolId, message: string): void {
    const { lookAgainMsMin, lookAgainMsMax } = federationLimits
    const { since } = this.#put(id, 'unreached', message)
    if (!this.isReachable(id)) return
    const asideMs = this.#o.runtime.monotonic() - since
    this.soon(id, Math.min(lookAgainMsMax, Math.max(lookAgainMsMin, asideMs)))
  }

  #put(id: PoolId, why: Aside['why'], message: string): Aside {
    const before = this.#aside.get(id)
    const since = before?.why === why ? before.since : this.#o.runtime.monotonic()
    const aside = { why, message, since }
    this.#aside.set(id, aside)
    if (why === 'unreached' && before?.why !== why) this.#o.onReach({ peer: id, problem: message })
    return aside
  }

  #whoElse(peer: Peer, code: string): Promise<string | undefined> | undefined {
    const isOther = ['key_mismatch', 'answer_forged', 'refused'].includes(code)
    return isOther ? this.#o.whoElse?.(peer, this.#ending.signal) : undefined
  }
}

const isLending = ({ trust, revoked }: Peer) => trust >= lendingFrom && !revoked

/** That nobody was reached says nothing about the peer. */
const ownDoing: readonly NotSeen['code'][] = ['killed', 'switch_unknown', 'cancelled', 'revoked']

const changed = (peer: Peer, said: Pick<Peer, 'name' | 'url' | 'moleculeId' | 'capabilities'>) =>
  peer.name !== said.name ||
  peer.moleculeId !== said.moleculeId ||
  !canonicalize(peer.capabilities).equals(canonicalize(said.capabilities))
