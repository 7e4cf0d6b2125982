import type { PoolId } from '#protocol'
import { federationLimits } from './limits.ts'
import { lookAt, type NotSeen, shakeHands } from './meet.ts'
import type { Outbound } from './outbound.ts'
import type { Peers } from './peers.ts'

interface Options {
  readonly outbound: Outbound
  readonly peers: Peers
  /** What this pool says of itself in a handshake. */
  readonly introduction: () => object
  readonly onDone: (event: { peer: PoolId; failed: NotSeen | undefined }) => void
}

/** Calls back who shook hands and asked for it: is that pool really at the URL it gave? Then it is shaken hands with, once. */
export class Reciprocations {
  readonly #options: Options
  readonly #running = new Set<PoolId>()

  constructor(options: Options) {
    this.#options = options
  }

  /** False when this one is under way, or too many others are. Ends by itself: each of its two calls has its limit. */
  schedule(peer: PoolId): boolean {
    if (this.#running.has(peer) || this.#running.size >= federationLimits.reciprocationsMax) return false
    this.#running.add(peer)
    void this.#callBack(peer)
      .catch((error): NotSeen => ({ ok: false, code: 'unreachable', message: String(error) }))
      .then((failed) => {
        this.#running.delete(peer)
        this.#options.onDone({ peer, failed })
      })
    return true
  }

  async #callBack(id: PoolId): Promise<NotSeen | undefined> {
    const { outbound, peers, introduction } = this.#options
    const peer = peers.get(id)
    if (!peer) throw new Error(`pool ${id} is not known`)
    const seen = await lookAt(outbound, { url: peer.url }, { expected: id })
    if (!seen.ok) return seen
    if (seen.version === 2) await peers.markOffersV2(id)
    const version = seen.version === 2 || peer.version === 2 ? 2 : 1
    const shaken = await shakeHands(outbound, { url: peer.url, known: { ...peer, version } }, introduction(), false)
    return shaken.ok ? undefined : shaken
  }
}
