import { sha256, verifySignature } from '#crypto'
import { PoolError, type PoolId, parsePoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { SignedAcceptance } from './acceptance.ts'
import type { AdminSignature } from './admin-request.ts'
import type { BondProblem, Bonds } from './bonds.ts'
import { looksLikeBundle, readBundle, writeBundle } from './bundle.ts'
import { challengeBytes } from './envelope.ts'
import type { Health, Heartbeats } from './heartbeats.ts'
import { lookAt, type NotSeen, shakeHands } from './meet.ts'
import type { Callee, Outbound } from './outbound.ts'
import { checkPeerUrl, type UrlPolicy, whyNotCalled } from './peer-url.ts'
import type { Peer, Peers } from './peers.ts'
import type { PeerRecord, Records } from './records.ts'
import type { Successions } from './successions.ts'
import type { TrustActs } from './trust-acts.ts'

interface Options {
  readonly runtime: Runtime
  readonly poolId: PoolId
  readonly publicKey: Buffer
  readonly url: string
  readonly policy: UrlPolicy
  readonly peers: Peers
  readonly outbound: Outbound
  readonly acts: TrustActs
  readonly bonds: Bonds
  readonly records: Records
  readonly successions: Successions
  readonly heartbeats: Heartbeats
  readonly introduction: () => object
}

/** A peer as those who run this pool see it. */
export interface PeerView {
  readonly peer: Peer
  readonly health: Health
  readonly reachable: boolean
  readonly record: PeerRecord | undefined
  /** Why a bond is not whole yet, as far as the last exchange has shown. */
  readonly bondProblems: readonly BondProblem[]
}

/** A peer with what admins of both pools have signed. */
export interface PeerDetails extends PeerView {
  readonly ours: SignedAcceptance | undefined
  readonly theirs: SignedAcceptance | undefined
}

export interface Added {
  readonly view: PeerDetails
  /** Why the other pool was not told; null: it was, and knows this one. */
  readonly problem: string | null
}

export interface Ping {
  /** It answered, and signed what it was sent. */
  readonly ok: boolean
  readonly tookMs: number
  readonly version: 1 | 2
  readonly problem: string | null
}

/** What humans do with peers. Each act is theirs alone: no message of a peer does the same. */
export class PeerOffice {
  readonly #o: Options

  constructor(options: Options) {
    this.#o = options
  }

  /** One line to hand over in person. */
  get bundle(): string {
    return writeBundle({ key: this.#o.publicKey, url: this.#o.url })
  }

  async list(): Promise<PeerView[]> {
    const records = await this.#o.records.read()
    return this.#o.peers.list().map((peer) => this.#view(peer, records))
  }

  /** By its id, or its first six digits and more. */
  async show(id: string): Promise<PeerDetails> {
    const peer = this.#known(id)
    const [records, signed] = await Promise.all([this.#o.records.read(), this.#o.acts.acceptances(peer.id)])
    return { ...this.#view(peer, records), ...signed }
  }

  /**
   * Meets the pool at a URL, or the one of a bundle. Who is asked for by id, or by a bundle, is held to that key; a bundle counts although
   * its pool cannot be reached.
   */
  async add(where: string, wanted?: string): Promise<Added> {
    const { outbound, peers } = this.#o
    const bundle = looksLikeBundle(where) ? readBundle(where) : undefined
    const expected = bundle ? parsePoolId(sha256(bundle.key).toString('hex')) : wanted && parsePoolId(wanted)
    if (wanted && expected !== wanted)
      throw invalid('The id is not 64 lowercase hex digits, or not that of the bundle.')
    const url = (bundle?.url ?? where).replace(/\/$/, '')
    if (expected === this.#o.poolId) throw invalid('This is the pool itself.')
    if (expected && peers.get(expected)?.revoked) throw revoked(expected)
    if (bundle && expected) await this.#writeDown(expected, bundle.key, { url })
    if (url === '' && expected) return { view: await this.show(expected), problem: 'The bundle has no URL.' }
    const seen = await lookAt(outbound, { url }, { expected: expected || undefined })
    if (!seen.ok) {
      if (!bundle || !expected) throw notReached(seen)
      return { view: await this.show(expected), problem: seen.message }
    }
    const { id, key, version, introduction } = seen
    if (id === this.#o.poolId) throw invalid('This is the pool itself.')
    if (peers.get(id)?.revoked) throw revoked(id)
    await this.#writeDown(id, key, { ...introduction, url })
    if (version === 2) await peers.markOffersV2(id)
    const known = peers.get(id)
    if (!known) throw new Error(`pool ${id} was not written down`)
    const shaken = await shakeHands(outbound, { url, known }, this.#o.introduction(), true)
    await this.#o.heartbeats.look(known)
    return { view: await this.show(id), problem: shaken.ok ? null : shaken.message }
  }

  /**
   * Up. A bond takes the signature of an admin here; it is offered to the other pool at once, and again after every heartbeat until an admin
   * there has signed, too.
   */
  async promote(
    id: string,
    level: number,
    by: string,
    signature?: AdminSignature,
  ): Promise<{ view: PeerDetails; awaiting: boolean }> {
    const peer = this.#known(id)
    await this.#o.acts.promote(peer.id, level, by, signature)
    await this.#o.bonds.exchange(peer.id)
    const view = await this.show(peer.id)
    return { view, awaiting: view.peer.trust < level }
  }

  /** Something has changed here that a bond was waiting for; a pool that is away is asked when it is seen again. */
  async tryBond(id: PoolId): Promise<void> {
    const { bonds, heartbeats, peers } = this.#o
    const waits = (peers.get(id)?.ourLevel ?? 0) > (peers.get(id)?.trust ?? 0) || bonds.problemsOf(id).length > 0
    if (waits && heartbeats.isReachable(id)) await bonds.exchange(id)
  }

  async demote(id: string, level: number, by: string): Promise<PeerDetails> {
    const peer = this.#known(id)
    await this.#o.acts.demote(peer.id, level, by)
    return this.show(peer.id)
  }

  async revoke(id: string, by: string): Promise<PeerDetails> {
    const peer = this.#known(id)
    await this.#o.acts.revoke(peer.id, by)
    return this.show(peer.id)
  }

  /** A human here says that this key, named in full, stands in the place of a peer's. */
  async confirm(id: string, successor: string, by: string, signature?: AdminSignature): Promise<PeerDetails> {
    const { successions, bonds, heartbeats, peers } = this.#o
    const next = await successions.confirm(this.#known(id), successor, by, signature)
    const peer = peers.get(next)
    if (peer) await heartbeats.look(peer)
    await bonds.exchange(next)
    return this.show(next)
  }

  async allowV1(id: string, by: string): Promise<PeerDetails> {
    const peer = this.#known(id)
    await this.#o.acts.allowV1(peer.id, by)
    return this.show(peer.id)
  }

  /** Asks it to sign 32 fresh bytes: who answers holds its key now. */
  async ping(id: string): Promise<Ping> {
    const { outbound, runtime, poolId, heartbeats } = this.#o
    const peer = this.#known(id)
    if (peer.revoked) throw revoked(peer.id)
    const since = runtime.monotonic()
    await heartbeats.look(peer)
    const challenge = runtime.randomBytes(32)
    const to: Callee = { url: peer.url, known: this.#o.peers.get(peer.id) ?? peer }
    const body = { atom_id: poolId, challenge_b64: challenge.toString('base64') }
    const called = await outbound.call(to, { method: 'POST', target: '/v1/federation/verify', body })
    const version = to.known?.version ?? 1
    const done = (problem: string | null): Ping => {
      return { ok: problem === null, tookMs: runtime.monotonic() - since, version, problem }
    }
    if (!called.ok) return done(called.message)
    const said = (called.body as { signed_response_b64?: unknown } | null)?.signed_response_b64
    const signature = Buffer.from(typeof said === 'string' ? said : '', 'base64')
    const bytes =
      version === 2
        ? challengeBytes(peer.id, poolId, challenge)
        : sha256(Buffer.concat([challenge, Buffer.from(peer.id, 'ascii')]))
    const proved = signature.length === 64 && verifySignature(peer.key, bytes, signature)
    return done(proved ? null : 'It did not sign what it was sent.')
  }

  #known(id: string): Peer {
    const peer = this.#o.peers.find(id)
    if (!peer)
      throw new PoolError('not_found', 'No pool with this id is known here, or several.', 'See `lichen fed ls`.')
    return peer
  }

  #view(peer: Peer, records: ReadonlyMap<PoolId, PeerRecord>): PeerView {
    const { heartbeats, policy } = this.#o
    const checked = checkPeerUrl(peer.url, policy)
    const health = heartbeats.of(peer.id)
    const aside = heartbeats.whyAside(peer.id)
    const problem = checked.ok
      ? (health.problem ?? aside?.message ?? null)
      : `Its URL may not be called: ${whyNotCalled(checked.code)}.`
    const reachable = checked.ok && heartbeats.isReachable(peer.id) && aside?.why !== 'unreached'
    const bondProblems = this.#o.bonds.problemsOf(peer.id)
    return { peer, health: { ...health, problem }, reachable, record: records.get(peer.id), bondProblems }
  }

  async #writeDown(
    id: PoolId,
    key: Buffer,
    said: { url: string; name?: string; molecule_id?: string | null | undefined; capabilities?: readonly object[] },
  ): Promise<void> {
    const { peers } = this.#o
    const before = peers.get(id)
    if (!before && peers.full)
      throw new PoolError('conflict', 'This pool knows as many others as it can.', 'Raise nothing: ask why.')
    await peers.introduce(id, key, {
      name: said.name ?? before?.name ?? '',
      url: said.url,
      moleculeId: said.molecule_id ?? before?.moleculeId ?? '',
      capabilities: said.capabilities ?? before?.capabilities ?? [],
    })
  }
}

const invalid = (message: string) => new PoolError('invalid_request', message, 'See `lichen fed add --help`.')
const revoked = (id: string) =>
  new PoolError('conflict', `Pool ${id.slice(0, 12)} was revoked for good.`, 'It can come back with another key only.')

function notReached({ code, message }: NotSeen): PoolError {
  if (code === 'killed')
    return new PoolError('federation_off', message, 'See `lichen status`; `lichen fed resume` lets it run.')
  if (code === 'switch_unknown')
    return new PoolError('federation_unknown', message, 'Try again; `lichen status` says whether the database answers.')
  if (code === 'url_refused')
    return new PoolError(
      'invalid_request',
      message,
      'Give https://HOST/, or allow this one: docs/reference/settings.md.',
    )
  return new PoolError('peer_unreachable', message, 'Check the URL and that the other pool runs; then try again.')
}
