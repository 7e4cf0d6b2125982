import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Identity } from '#crypto'
import { PoolError, type PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database, Sql } from '#storage'
import { acceptPath, Bonds } from './bonds.ts'
import { directoryPage } from './directory.ts'
import { answerBytes, envelopeHeaders, streamBytes } from './envelope.ts'
import { Heartbeats, type Reach } from './heartbeats.ts'
import type { KillSwitch } from './kill-switch.ts'
import { federationLimits } from './limits.ts'
import { infoPath, introductionSchema, type NotSeen, shakeHands } from './meet.ts'
import { Outbound, type OutboundOptions } from './outbound.ts'
import { PeerOffice } from './peer-office.ts'
import { checkPeerUrl, type UrlPolicy } from './peer-url.ts'
import { type Peer, Peers } from './peers.ts'
import { proveKey } from './prove-key.ts'
import { pathOf, type RawHead, type RawRequest } from './read-envelope.ts'
import { type Heard, isHandshake, type NotHeard, Receiver } from './receiver.ts'
import { Reciprocations } from './reciprocations.ts'
import { Records } from './records.ts'
import { type Answer, answerNo, answerYes, type SignedRoute, type StreamedAnswer } from './signed-route.ts'
import { signatureEvent } from './stream-events.ts'
import { Successions, successorText } from './successions.ts'
import { TrustActs, type TrustChange } from './trust-acts.ts'
import { handshakePath } from './verify-envelope.ts'

export type FederationMode = 'off' | 'observe' | 'active'

/** `{"kind":"llm.chat",…}` on the wire. */
export interface Capability {
  readonly model: string
  readonly workers: number
  /** What version 1 does not know: the model file, its context, what it can do, and micro-credits a token. */
  readonly digest: string | null
  readonly context: number
  readonly features: readonly string[]
  readonly prices: { readonly prompt: bigint; readonly completion: bigint }
}

export interface FederationOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly poolId: PoolId
  readonly identity: Identity
  /** Keys of admins of this pool that count now, by id. */
  readonly adminKeys: (sql: Sql) => Promise<ReadonlyMap<string, Buffer>>
  readonly mode: FederationMode
  readonly name: string
  /** Where other pools reach this one; empty when nobody said. */
  readonly url: string
  readonly capabilities: () => readonly Capability[]
  readonly killSwitch: KillSwitch
  readonly policy: UrlPolicy
  /** The network of an address, as requests are counted by it (/24, /56). */
  readonly networkOf: (address: string) => string
  readonly resolve?: OutboundOptions['resolve']
  /** Whether the lists of this pool and its peers are told to everybody. */
  readonly publish: boolean
  /** How busy this pool is: requests that run or wait, and places for them. */
  readonly load: () => { readonly running: number; readonly waiting: number; readonly slots: number }
  readonly onTrust: (change: TrustChange) => void
  readonly onReach: (event: Reach) => void
  readonly onHeard: (event: { peer: PoolId; version: 1 | 2; path: string; refused: string | null }) => void
  readonly onCalledBack: (event: { peer: PoolId; failed: NotSeen | undefined }) => void
  readonly onProblem: (error: unknown) => void
}

const jsonType = 'application/json; charset=utf-8'
const reciprocationSchema = z.object({ request_reciprocation: z.boolean().default(false) })

/** What other pools find at the doors of this one, and the one way to theirs. */
export class Federation implements Disposable {
  readonly peers: Peers
  readonly outbound: Outbound
  readonly acts: TrustActs
  readonly records: Records
  readonly heartbeats: Heartbeats
  readonly office: PeerOffice
  readonly #options: FederationOptions
  readonly #receiver: Receiver
  readonly #reciprocations: Reciprocations
  readonly #routes = new Map<string, SignedRoute>()
  #ended = false

  private constructor(options: FederationOptions, peers: Peers) {
    this.#options = options
    this.peers = peers
    this.#receiver = new Receiver(options.poolId, options.runtime, peers)
    const { poolId, identity, database, runtime, url, policy, onProblem } = options
    this.outbound = new Outbound({
      ...options,
      whileTrusted: (id, abort) => peers.whileTrusted(id, abort),
      onSigned: (id, address) => this.#receiver.proved(id, options.networkOf(address)),
    })
    const { outbound } = this
    const introduction = () => this.introduction()
    this.acts = new TrustActs({ ...options, peers })
    this.records = new Records(database, runtime, this.acts)
    const bonds = new Bonds(poolId, this.acts, outbound, peers)
    const successions = new Successions({ ...options, outbound, peers, acts: this.acts })
    this.heartbeats = new Heartbeats({
      runtime,
      peers,
      outbound,
      mayCall: () => options.mode === 'active',
      onReach: (event) => {
        options.onReach(event)
        if (event.problem !== null) return
        void this.#introduceTo(event.peer).catch((error) => this.#ended || onProblem(error))
      },
      onSeen: (id) => this.#seen(id, bonds),
      whoElse: async (peer, signal) => {
        const found = await successions.look(peer, signal)
        return found && successorText(peer, found)
      },
      onProblem,
    })
    peers.whenLending((peer) => void this.#greet(peer).catch((error) => this.#ended || onProblem(error)))
    const rooms = {
      peers,
      outbound,
      bonds,
      acts: this.acts,
      records: this.records,
      heartbeats: this.heartbeats,
      successions,
    }
    this.office = new PeerOffice({
      runtime,
      poolId,
      publicKey: identity.publicKey,
      url,
      policy,
      introduction,
      ...rooms,
    })
    this.#reciprocations = new Reciprocations({
      peers,
      outbound,
      introduction,
      onDone: options.onCalledBack,
    })
    this.serve(handshakePath, { trustMin: 0, reply: (heard) => this.#shakeHands(heard) })
    this.serve('/v1/federation/verify', { trustMin: 0, reply: (heard) => proveKey(options, heard) })
    this.serve(infoPath, { trustMin: 0, reply: () => answerYes(this.#self()) })
    this.serve(acceptPath, { trustMin: 1, reply: (heard) => bonds.reply(heard) })
    this.serve('/v1/federation/peer/status', { trustMin: 3, reply: () => answerYes(coarseStatus(options.load())) })
  }

  static async open(options: FederationOptions): Promise<Federation> {
    return new Federation(options, await Peers.open(options.database, options.runtime, options.onProblem))
  }

  [Symbol.dispose](): void {
    this.#ended = true
    this.heartbeats[Symbol.dispose]()
    this.outbound[Symbol.dispose]()
    this.peers[Symbol.dispose]()
  }

  /** This pool. */
  get self(): PoolId {
    return this.#options.poolId
  }

  /** Adds what is answered at a signed path. */
  serve(path: string, signed: SignedRoute): void {
    if (this.#routes.has(path)) throw new Error(`${path} is served already`)
    this.#routes.set(path, signed)
  }

  /** Public: who this pool is, and what it speaks. */
  async info(): Promise<Answer> {
    return (await this.#closed()) ?? answerYes(this.#self())
  }

  /** Public: this pool and those it trusts and has seen lately. */
  async directory(page: 'molecule' | 'discover' | 'pools'): Promise<Answer> {
    const closed = await this.#closed()
    if (closed) return closed
    if (!this.#options.publish) return answerNo(404, 'this pool publishes no lists')
    const seen = this.peers.list().filter((peer) => peer.trust >= 2 && this.heartbeats.isReachable(peer.id))
    return answerYes(directoryPage(page, this.introduction(), seen))
  }

  /** Jobs may go both ways from now on: what it has is looked at now, and it is told what is here. */
  async #greet(peer: Peer): Promise<void> {
    if (this.#options.mode !== 'active') return
    const { problem } = await this.heartbeats.look(peer)
    if (problem === null) await this.#introduceTo(peer.id)
  }

  /** What is here now, to a pool that is met anew. */
  async #introduceTo(id: PoolId): Promise<void> {
    const known = this.peers.get(id)
    if (known) await shakeHands(this.outbound, { url: known.url, known }, this.introduction(), false)
  }

  /** A bond that waits for the other side is offered again whenever that side is there. */
  async #seen(id: PoolId, bonds: Bonds): Promise<void> {
    const peer = this.peers.get(id)
    if (peer && (peer.ourLevel > peer.trust || bonds.problemsOf(id).length > 0)) await bonds.exchange(id)
  }

  /**
   * What the head of a signed request has earned by itself, whatever its body; undefined: read that, then {@link answer}. `bodyBytes`: as
   * many as are said to come. `source`: the network it came from.
   */
  turnAway(head: RawHead, bodyBytes: number, source: string): Promise<Answer> | undefined {
    const why = this.#whyTurnedAway(head, bodyBytes, source)
    return why && this.#closed().then((closed) => closed ?? why)
  }

  #whyTurnedAway(head: RawHead, bodyBytes: number, source: string): Answer | undefined {
    const path = pathOf(head.target)
    const signed = this.#routes.get(path)
    if (!signed) return unserved(path)
    if (signed.before) return signed.beforeBody?.(bodyBytes)
    const judged = this.#receiver.judge(head, bodyBytes, source)
    return 'error' in judged ? refusal(judged) : undefined
  }

  /** A signed request. `source`: the network it came from. */
  async answer(request: RawRequest, source: string): Promise<Answer | StreamedAnswer> {
    const closed = await this.#closed()
    if (closed) return closed
    const path = pathOf(request.target)
    const signed = this.#routes.get(path)
    if (!signed) return unserved(path)
    const early = await signed.before?.(request)
    if (early) return early
    const heard = this.#receiver.receive(request, source, signed.bucket)
    if ('error' in heard) return refusal(heard)
    const refused = await this.#whyNotSettled(heard, signed)
    const { sender: peer, version } = heard.envelope
    this.#options.onHeard({ peer, version, path, refused: refused?.error ?? null })
    if (refused) return this.#signed(heard, refusal(refused))
    if (path === handshakePath || path === infoPath) this.heartbeats.heard(peer)
    return this.#whileAllowed(heard, signed)
  }

  /** The answer, as long as nobody switches federation off or revokes who asked. */
  async #whileAllowed(heard: Heard, { reply }: SignedRoute): Promise<Answer | StreamedAnswer> {
    const ending = new AbortController()
    const abort = () => ending.abort(cutOff())
    const forget = [this.#options.killSwitch.register(abort), this.peers.whileTrusted(heard.envelope.sender, abort)]
    const done = () => {
      for (const one of forget) one()
    }
    let streams = false
    try {
      const answer = await reply(heard, ending.signal)
      if (!('pieces' in answer)) return this.#signed(heard, answer)
      streams = true
      return { ...answer, pieces: this.#signedPieces(heard, answer, ending.signal, done), abandon: abort }
    } catch (error) {
      if (ending.signal.aborted)
        return this.#signed(heard, answerNo(503, 'cut off: switched off here, or not trusted any more'))
      throw error
    } finally {
      if (!streams) done()
    }
  }

  /** The stream, and behind it the signature over all of it. */
  async *#signedPieces(
    { envelope, verified }: Heard,
    { pieces, contentType }: StreamedAnswer,
    signal: AbortSignal,
    done: () => void,
  ): AsyncGenerator<Buffer, void> {
    const { poolId, identity } = this.#options
    const hash = createHash('sha256')
    const cut = Promise.withResolvers<never>()
    cut.promise.catch(() => {})
    const stop = () => cut.reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    try {
      // whoever makes the pieces may be silent just now: the stream ends all the same
      for (;;) {
        const { done: over, value: piece } = await Promise.race([pieces.next(), cut.promise])
        if (over || !piece) break
        hash.update(piece)
        yield piece
      }
      const parts = {
        responder: poolId,
        asker: envelope.sender,
        requestHash: verified.requestHash,
        status: 200,
        contentType,
      }
      const signature = identity.sign(streamBytes({ ...parts, hash: hash.digest() })).toString('base64')
      yield Buffer.from(`${signatureEvent}${signature}\n\n`)
    } finally {
      signal.removeEventListener('abort', stop)
      void pieces.return().catch(() => {})
      done()
    }
  }

  async #closed(): Promise<Answer | undefined> {
    const off = await this.#options.killSwitch.whyOff()
    if (off === 'killed') return answerNo(503, 'federation is switched off')
    if (off) return answerNo(503, 'switch_unknown: this pool cannot read its switch just now', ['retry-after', '1'])
    return this.#options.mode === 'off' ? { status: 503, body: { mode: 'off' }, headers: [] } : undefined
  }

  /** In `observe` nothing is kept and nothing is served: a valid request is told so. A stranger is written down first: nonces belong to peers. */
  async #whyNotSettled(heard: Heard, { trustMin }: SignedRoute): Promise<NotHeard | undefined> {
    if (this.#options.mode === 'observe') return { status: 503, error: 'this pool only observes' }
    if (isHandshake(heard.envelope)) {
      if (heard.stranger && this.peers.full) return { status: 503, error: 'this pool knows as many as it can' }
      const introduced = introductionSchema.safeParse(heard.verified.body)
      if (!introduced.success) return { status: 400, error: `invalid ${introduced.error.issues[0]?.path.join('.')}` }
      if (heard.stranger) await this.#introduce(heard)
    } else if ((this.peers.get(heard.envelope.sender)?.trust ?? 0) < trustMin)
      return { status: 403, error: `this needs trust ${trustMin} here` }
    return this.#receiver.settle(heard)
  }

  async #shakeHands(heard: Heard): Promise<Answer> {
    const { envelope, verified, stranger } = heard
    if (!stranger) await this.#introduce(heard)
    const peer = this.peers.get(envelope.sender)
    const wanted = reciprocationSchema.safeParse(verified.body).data?.request_reciprocation === true
    const callable = peer !== undefined && checkPeerUrl(peer.url, this.#options.policy).ok
    return answerYes({
      ok: true,
      peer_trust_level: peer?.trust ?? 0,
      signature_verified: true,
      reciprocation_scheduled: wanted && callable && this.#reciprocations.schedule(envelope.sender),
      already_known: !stranger,
      self: this.#self(),
    })
  }

  async #introduce({ envelope, verified }: Heard): Promise<void> {
    const { molecule_id, ...said } = introductionSchema.parse(verified.body)
    const key = Buffer.isBuffer(verified.key) ? verified.key : verified.key.raw
    await this.peers.introduce(envelope.sender, key, { ...said, moleculeId: molecule_id ?? '' })
  }

  /** An answer to a version 2 request is bound to it and to who asked. */
  #signed({ envelope, verified }: Heard, answer: Answer): Answer {
    if (envelope.version !== 2) return answer
    const { poolId, identity } = this.#options
    const body = Buffer.from(JSON.stringify(answer.body))
    const parts = { responder: poolId, asker: envelope.sender, requestHash: verified.requestHash }
    const bytes = answerBytes({ ...parts, status: answer.status, contentType: jsonType, body })
    const signature = identity.sign(bytes).toString('base64')
    const { version, sender, signature: name } = envelopeHeaders
    return { ...answer, headers: [...answer.headers, version, '2', sender, poolId, name, signature] }
  }

  /** What this pool says of itself when it shakes hands. */
  introduction(): object {
    const { poolId, name, identity, url, capabilities } = this.#options
    return {
      atom_id: poolId,
      name,
      pubkey_hex: identity.publicKey.toString('hex'),
      url,
      molecule_id: '',
      capabilities: capabilities().map(({ model, workers, digest, context, features, prices }) => ({
        kind: 'llm.chat',
        model,
        version: 'v1',
        worker_count: workers,
        digest,
        context,
        features,
        prompt_price: String(prices.prompt),
        completion_price: String(prices.completion),
      })),
    }
  }

  #self(): object {
    return {
      mode: this.#options.mode,
      ...this.introduction(),
      hop_max: federationLimits.hopMax,
      nonce_window_sec: federationLimits.freshnessMs / 1_000,
      schema: 1,
      envelope_versions: [1, 2],
    }
  }
}

const nothingHere = answerNo(404, 'there is nothing at this path')

function refusal({ status, error, retryAfterS }: NotHeard): Answer {
  return answerNo(status, error, retryAfterS === undefined ? [] : ['retry-after', String(retryAfterS)])
}

/** Tiers, not counts: a bonded peer may plan with them, and learns nothing about single requests. */
function coarseStatus({ running, waiting, slots }: ReturnType<FederationOptions['load']>): object {
  const tier = slots === 0 ? 'closed' : waiting > 0 ? 'full' : running * 2 >= slots ? 'busy' : 'free'
  const size = slots === 0 ? 'none' : slots <= 4 ? 'small' : slots <= 32 ? 'medium' : 'large'
  return { ok: true, load: tier, size }
}

/** In version 1 these let another pool overwrite accounts, or make itself a session; here they are refused to everybody, signed or not. */
const neverServed: readonly string[] = ['/v1/federation/accounts/ingest', '/v1/federation/accounts/jwt/session']

const writesNothing = answerNo(403, 'refused: nobody writes accounts or makes sessions here from outside')

const unserved = (path: string) => (neverServed.includes(path) ? writesNothing : nothingHere)

const cutOff = () =>
  new PoolError(
    'federation_off',
    'Federation was switched off here, or that pool is not trusted any more.',
    'Ask the human of this pool.',
  )
