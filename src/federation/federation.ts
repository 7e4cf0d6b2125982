import { z } from 'zod'
import { type Identity, sha256 } from '#crypto'
import type { PoolId } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'
import { answerBytes, challengeBytes, envelopeHeaders } from './envelope.ts'
import { federationLimits } from './limits.ts'
import { Peers } from './peers.ts'
import type { RawRequest } from './read-envelope.ts'
import { type Heard, isHandshake, type NotHeard, Receiver } from './receiver.ts'

export type FederationMode = 'off' | 'observe' | 'active'

/** `{"kind":"llm.chat",…}` on the wire. */
export interface Capability {
  readonly model: string
  readonly workers: number
}

export interface FederationOptions {
  readonly database: Database
  readonly runtime: Runtime
  readonly poolId: PoolId
  readonly identity: Identity
  readonly mode: FederationMode
  readonly name: string
  /** Where other pools reach this one; empty when nobody said. */
  readonly url: string
  readonly capabilities: () => readonly Capability[]
  /** Whether the kill switch is on; asked before anything else, every time. */
  readonly killed: () => Promise<boolean>
  readonly onHeard: (event: { peer: PoolId; version: 1 | 2; path: string; refused: string | null }) => void
  readonly onProblem: (error: unknown) => void
}

export interface Answer {
  readonly status: number
  readonly body: object
  /** Name, value, name, value. */
  readonly headers: readonly string[]
}

const { nameCharsMax, capabilitiesMax, urlCharsMax, challengeBytesMax } = federationLimits
/** Members beyond these are passed over: other versions may say more. */
const handshakeSchema = z.object({
  name: z.string().max(nameCharsMax),
  url: z.string().max(urlCharsMax),
  molecule_id: z.string().max(nameCharsMax).nullish(),
  capabilities: z
    .array(z.object({ kind: z.string().max(nameCharsMax) }).loose())
    .max(capabilitiesMax)
    .default([]),
})
const challengeSchema = z.object({ challenge_b64: z.base64().max(4 * Math.ceil(challengeBytesMax / 3)) })

const jsonType = 'application/json; charset=utf-8'
const no = (status: number, error: string, headers: readonly string[] = []): Answer => ({
  status,
  body: { error },
  headers,
})

/** What other pools find at the doors of this one. */
export class Federation implements Disposable {
  readonly #options: FederationOptions
  readonly #peers: Peers
  readonly #receiver: Receiver

  private constructor(options: FederationOptions, peers: Peers) {
    this.#options = options
    this.#peers = peers
    this.#receiver = new Receiver(options.poolId, options.runtime, peers)
  }

  static async open(options: FederationOptions): Promise<Federation> {
    return new Federation(options, await Peers.open(options.database, options.runtime, options.onProblem))
  }

  [Symbol.dispose](): void {
    this.#peers[Symbol.dispose]()
  }

  /** Public: who this pool is, and what it speaks. */
  async info(): Promise<Answer> {
    return (await this.#closed()) ?? { status: 200, body: this.#self(), headers: [] }
  }

  /** A signed request at `handshake` or `verify`. `source`: the network it came from. */
  async answer(request: RawRequest, source: string): Promise<Answer> {
    const closed = await this.#closed()
    if (closed) return closed
    const heard = this.#receiver.receive(request, source)
    const refused = 'error' in heard ? heard : await this.#whyNotSettled(heard)
    if (!('error' in heard)) {
      const { sender: peer, version, target: path } = heard.envelope
      this.#options.onHeard({ peer, version, path, refused: refused?.error ?? null })
    }
    if (refused || 'error' in heard) return refusal(refused ?? (heard as NotHeard))
    return this.#signed(heard, await this.#reply(heard))
  }

  async #closed(): Promise<Answer | undefined> {
    if (await this.#options.killed()) return no(503, 'federation is switched off')
    return this.#options.mode === 'off' ? { status: 503, body: { mode: 'off' }, headers: [] } : undefined
  }

  /** In `observe` nothing is kept and nothing is served: a valid request is told so. A stranger is written down first: nonces belong to peers. */
  async #whyNotSettled(heard: Heard): Promise<NotHeard | undefined> {
    if (this.#options.mode === 'observe') return { status: 503, error: 'this pool only observes' }
    if (isHandshake(heard.envelope)) {
      if (heard.stranger && this.#peers.full) return { status: 503, error: 'this pool knows as many as it can' }
      const introduced = handshakeSchema.safeParse(heard.verified.body)
      if (!introduced.success) return { status: 400, error: `invalid ${introduced.error.issues[0]?.path.join('.')}` }
      const { name, url, molecule_id, capabilities } = introduced.data
      if (heard.stranger) {
        const { key } = heard.verified
        const introduction = { name, url, moleculeId: molecule_id ?? '', capabilities }
        await this.#peers.introduce(heard.envelope.sender, Buffer.isBuffer(key) ? key : key.raw, introduction)
      }
    }
    return this.#receiver.settle(heard)
  }

  async #reply(heard: Heard): Promise<Answer> {
    return isHandshake(heard.envelope) ? this.#shakeHands(heard) : this.#prove(heard)
  }

  async #shakeHands({ envelope, verified, stranger }: Heard): Promise<Answer> {
    const { name, url, molecule_id, capabilities } = handshakeSchema.parse(verified.body)
    const key = Buffer.isBuffer(verified.key) ? verified.key : verified.key.raw
    if (!stranger)
      await this.#peers.introduce(envelope.sender, key, { name, url, moleculeId: molecule_id ?? '', capabilities })
    const body = {
      ok: true,
      peer_trust_level: this.#peers.get(envelope.sender)?.trust ?? 0,
      signature_verified: true,
      reciprocation_scheduled: false,
      already_known: !stranger,
      self: this.#self(),
    }
    return { status: 200, body, headers: [] }
  }

  /** In version 1 a short challenge only: the key signs what a peer chose. */
  #prove({ envelope, verified }: Heard): Answer {
    const asked = challengeSchema.safeParse(verified.body)
    if (!asked.success) return no(400, `invalid challenge_b64: at most ${challengeBytesMax} bytes in base64`)
    const challenge = Buffer.from(asked.data.challenge_b64, 'base64')
    if (challenge.length > challengeBytesMax) return no(400, `a challenge has at most ${challengeBytesMax} bytes`)
    const { poolId, identity } = this.#options
    const bytes =
      envelope.version === 2
        ? challengeBytes(poolId, envelope.sender, challenge)
        : sha256(Buffer.concat([challenge, Buffer.from(poolId, 'ascii')]))
    const body = {
      ok: true,
      echo_challenge_b64: asked.data.challenge_b64,
      signed_response_b64: identity.sign(bytes).toString('base64'),
      self_atom_id: poolId,
    }
    return { status: 200, body, headers: [] }
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

  #self(): object {
    const { mode, poolId, name, identity, url, capabilities } = this.#options
    return {
      mode,
      atom_id: poolId,
      name,
      pubkey_hex: identity.publicKey.toString('hex'),
      url,
      molecule_id: '',
      capabilities: capabilities().map(({ model, workers }) => ({
        kind: 'llm.chat',
        model,
        version: 'v1',
        worker_count: workers,
      })),
      hop_max: federationLimits.hopMax,
      nonce_window_sec: federationLimits.freshnessMs / 1_000,
      schema: 1,
      envelope_versions: [1, 2],
    }
  }
}

function refusal({ status, error, retryAfterS }: NotHeard): Answer {
  return no(status, error, retryAfterS === undefined ? [] : ['retry-after', String(retryAfterS)])
}
