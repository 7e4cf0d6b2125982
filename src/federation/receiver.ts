import type { PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import { federationLimits } from './limits.ts'
import type { Peer, Peers } from './peers.ts'
import { Rates } from './rates.ts'
import { pathOf, type RawRequest, type ReadEnvelope, readEnvelope } from './read-envelope.ts'
import { handshakePath, isFresh, type Verified, verifyEnvelope, whyNotHeard } from './verify-envelope.ts'

/** A request whose signature holds; `settle` makes it count, once. */
export interface Heard {
  readonly envelope: ReadEnvelope
  readonly verified: Verified
  /** A handshake of somebody who is not known yet. */
  readonly stranger: boolean
}

export interface NotHeard {
  readonly status: number
  readonly error: string
  readonly retryAfterS?: number
}

/** The door between pools: in the order of spec/federation.md, the cheap questions first. */
export class Receiver {
  readonly #self: PoolId
  readonly #runtime: Runtime
  readonly #peers: Peers
  readonly #failures = new Rates(federationLimits.failuresPerMinute, federationLimits.sourcesMax)
  readonly #strangers = new Rates(federationLimits.strangersPerMinute, federationLimits.sourcesMax)
  readonly #signers = new Rates(federationLimits.requestsPerMinute, federationLimits.peersMax)

  /** By kind of request and level of trust. */
  readonly #buckets = new Map<string, Rates>()

  constructor(self: PoolId, runtime: Runtime, peers: Peers) {
    this.#self = self
    this.#runtime = runtime
    this.#peers = peers
  }

  /** `source`: the network the request came from (/24, /56). */
  receive(request: RawRequest, source: string, bucket?: 'jobs' | 'facts'): Heard | NotHeard {
    const read = readEnvelope(request)
    if (!read.ok) return notHeard(read.code)
    const { envelope } = read
    if (!isFresh(envelope, this.#runtime.now())) return notHeard('not_fresh')
    const peer = this.#peers.get(envelope.sender)
    const unheard = whyNotHeard(envelope, peer)
    if (unheard) return notHeard(unheard.code)
    const now = this.#runtime.monotonic()
    if (!this.#failures.has(source, now)) return tooMany('failed signatures from this network')
    // a stranger's key costs a millisecond, so the network pays before it is looked at
    if (!peer && !this.#strangers.take(source, now)) return tooMany('strangers from this network')
    const verified = verifyEnvelope(envelope, peer, this.#self)
    if (!verified.ok) {
      if (verified.code === 'bad_signature') this.#failures.take(source, now)
      return notHeard(verified.code)
    }
    if (peer && !this.#bucketOf(peer, bucket).take(peer.id, now)) return tooMany('requests of this pool')
    return { envelope, verified, stranger: !peer }
  }

  #bucketOf({ trust }: Peer, bucket: 'jobs' | 'facts' | undefined): Rates {
    if (!bucket) return this.#signers
    const name = `${bucket} ${trust}`
    const rates =
      this.#buckets.get(name) ??
      new Rates(federationLimits[`${bucket}PerMinute`][trust] ?? 0, federationLimits.peersMax)
    this.#buckets.set(name, rates)
    return rates
  }

  /** Uses up the nonce of a pool that is known by now. */
  async settle({ envelope }: Heard): Promise<NotHeard | undefined> {
    const { sender, nonce, version } = envelope
    if (!(await this.#peers.firstUse(sender, nonce))) return notHeard('replayed')
    if (version === 2 && !this.#peers.get(sender)?.spokeV2) await this.#peers.markV2(sender)
    return undefined
  }
}

const statusOf: Readonly<Record<string, number>> = { body_too_large: 413, hop_limit: 409, loop: 409, invalid_body: 400 }

const notHeard = (code: string): NotHeard => ({ status: statusOf[code] ?? 401, error: `signature: ${code}` })
const tooMany = (what: string): NotHeard => ({ status: 429, error: `too many ${what}`, retryAfterS: 60 })

export const isHandshake = ({ target }: ReadEnvelope) => pathOf(target) === handshakePath
