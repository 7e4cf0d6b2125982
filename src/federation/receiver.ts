import type { PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import { costOf, Forgeries } from './forgeries.ts'
import { federationLimits } from './limits.ts'
import type { Peer, Peers } from './peers.ts'
import { Rates } from './rates.ts'
import {
  type EnvelopeHead,
  pathOf,
  type RawHead,
  type RawRequest,
  type ReadEnvelope,
  readHead,
} from './read-envelope.ts'
import { handshakePath, isFresh, type Verified, verifyEnvelope, whyNotHeard } from './verify-envelope.ts'

/** A request whose signature holds; `settle` makes it count, once. */
export interface Heard {
  readonly envelope: ReadEnvelope
  readonly verified: Verified
  /** A handshake of somebody who is not known yet. */
  readonly stranger: boolean
  /** The network it came from (/24, /56). */
  readonly source: string
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
  readonly #forgeries = new Forgeries()
  readonly #strangers = new Rates(federationLimits.strangersPerMinute, federationLimits.sourcesMax)
  readonly #signers = new Rates(federationLimits.requestsPerMinute, federationLimits.peersMax)

  /** By kind of request and level of trust. */
  readonly #buckets = new Map<string, Rates>()

  constructor(self: PoolId, runtime: Runtime, peers: Peers) {
    this.#self = self
    this.#runtime = runtime
    this.#peers = peers
  }

  /**
   * What the head of a request alone says, before its body is read and a signature looked at; nothing is counted. `bodyBytes`: as many as
   * there are, or are said to come. `source`: the network the request came from (/24, /56).
   */
  judge(head: RawHead, bodyBytes: number, source: string): EnvelopeHead | NotHeard {
    const read = readHead(head, bodyBytes)
    if (!read.ok) return notHeard(read.code)
    const { envelope } = read
    if (!isFresh(envelope, this.#runtime.now())) return notHeard('not_fresh')
    const peer = this.#peers.get(envelope.sender)
    const unheard = whyNotHeard(envelope, peer)
    if (unheard) return notHeard(unheard.code)
    const now = this.#runtime.monotonic()
    const why = this.#forgeries.whyNotLookedAt(peer?.id ?? 'strangers', source, now)
    if (why) return tooMany(`failed signatures ${fromWhere[why]}`)
    if (!peer && !this.#strangers.has(source, now)) return tooMany('strangers from this network')
    return envelope
  }

  /** A whole request. What was said of its head is asked again: much may have come while its body did. */
  receive(request: RawRequest, source: string, bucket?: 'jobs' | 'facts'): Heard | NotHeard {
    const { body } = request
    const head = this.judge(request, body.length, source)
    if ('error' in head) return head
    const envelope = { ...head, body }
    const peer = this.#peers.get(envelope.sender)
    const now = this.#runtime.monotonic()
    // a stranger's key costs a millisecond, so the network pays before it is looked at
    if (!peer) this.#strangers.take(source, now, costOf(body.length))
    const verified = verifyEnvelope(envelope, peer, this.#self)
    if (!verified.ok) {
      if (verified.code === 'bad_signature') this.#forgeries.failed(peer?.id ?? 'strangers', source, now, body.length)
      return notHeard(verified.code)
    }
    if (peer && !this.#bucketOf(peer, bucket).take(peer.id, now)) return tooMany('requests of this pool')
    return { envelope, verified, stranger: !peer, source }
  }

  /** A pool of version 2 answered from there under its signature. */
  proved(id: PoolId, source: string): void {
    this.#forgeries.proved(id, source, 2)
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
  async settle({ envelope, source }: Heard): Promise<NotHeard | undefined> {
    const { sender, nonce, version } = envelope
    if (!(await this.#peers.firstUse(sender, nonce))) return notHeard('replayed')
    this.#forgeries.proved(sender, source, version)
    if (version === 2 && !this.#peers.get(sender)?.spokeV2) await this.#peers.markV2(sender)
    return undefined
  }
}

const statusOf: Readonly<Record<string, number>> = { body_too_large: 413, hop_limit: 409, loop: 409, invalid_body: 400 }

const notHeard = (code: string): NotHeard => ({ status: statusOf[code] ?? 401, error: `signature: ${code}` })
const fromWhere = { network: 'from this network', id: 'under this id', all: 'from everywhere' } as const
const tooMany = (what: string): NotHeard => ({ status: 429, error: `too many ${what}`, retryAfterS: 60 })

export const isHandshake = ({ target }: ReadEnvelope) => pathOf(target) === handshakePath
