import { canonicalize } from '#crypto'
import type { PoolId } from '#protocol'
import type { Runtime, Timer } from '#runtime'
import { federationLimits } from './limits.ts'
import { lookAt } from './meet.ts'
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
  readonly onProblem: (error: unknown) => void
}

const never: Health = { seenAt: null, tookMs: null, problem: null }

/** Looks every 30 s whether the pools this one trusts are at their addresses, and are who they were. */
export class Heartbeats implements Disposable {
  readonly #o: Options
  readonly #health = new Map<PoolId, Health>()
  readonly #timer: Timer
  readonly #ending = new AbortController()
  #beating = false

  constructor(options: Options) {
    this.#o = options
    this.#timer = options.runtime.every(federationLimits.heartbeatMs, () => void this.beat().catch(options.onProblem))
  }

  [Symbol.dispose](): void {
    this.#timer.cancel()
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

  /** One round over all pools with trust 2 and more, some at once. */
  async beat(): Promise<void> {
    if (this.#beating || !this.#o.mayCall()) return
    this.#beating = true
    try {
      const left = this.#o.peers.list().filter(({ trust, revoked }) => trust >= 2 && !revoked)
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
    if (!seen.ok) return health
    if (seen.version === 2 && peer.version === 1) await this.#o.peers.markOffersV2(peer.id)
    const { molecule_id, ...said } = seen.introduction
    const moleculeId = molecule_id ?? ''
    if (changed(peer, { ...said, moleculeId, url: peer.url }))
      await this.#o.peers.introduce(peer.id, seen.key, { ...said, moleculeId, url: peer.url })
    await this.#o.onSeen(peer.id)
    return health
  }
  #whoElse(peer: Peer, code: string): Promise<string | undefined> | undefined {
    const isOther = ['key_mismatch', 'answer_forged', 'refused'].includes(code)
    return isOther ? this.#o.whoElse?.(peer, this.#ending.signal) : undefined
  }
}

const changed = (peer: Peer, said: Pick<Peer, 'name' | 'url' | 'moleculeId' | 'capabilities'>) =>
  peer.name !== said.name ||
  peer.moleculeId !== said.moleculeId ||
  !canonicalize(peer.capabilities).equals(canonicalize(said.capabilities))
