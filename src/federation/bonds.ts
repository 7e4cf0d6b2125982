import { z } from 'zod'
import type { PoolId } from '#protocol'
import type { SignedAcceptance } from './acceptance.ts'
import type { NotCalled, Outbound } from './outbound.ts'
import type { Peers } from './peers.ts'
import type { Heard } from './receiver.ts'
import { type Answer, answerNo, answerYes } from './signed-route.ts'
import type { TrustActs } from './trust-acts.ts'

export const acceptPath = '/v1/federation/peer/accept'

const acceptanceSchema = z.object({
  level: z.literal([3, 4]),
  at: z.int().min(0).max(99_999_999_999),
  signature: z.base64().length(88),
})
const exchangeSchema = z.object({ acceptance: acceptanceSchema.nullable() })

const toWire = (own: SignedAcceptance | undefined) =>
  own ? { level: own.level, at: own.at, signature: own.signature.toString('base64') } : null

/** Exchanges acceptances: each pool keeps the other's word, and neither is bonded before both have it. */
export class Bonds {
  readonly #acts: TrustActs
  readonly #outbound: Outbound
  readonly #peers: Peers
  readonly #self: PoolId

  constructor(self: PoolId, acts: TrustActs, outbound: Outbound, peers: Peers) {
    this.#self = self
    this.#acts = acts
    this.#outbound = outbound
    this.#peers = peers
  }

  /** Gives this pool's word to a version 2 peer, and takes its word. Undefined: done, or there is nothing to give. */
  async exchange(id: PoolId): Promise<NotCalled | undefined> {
    const peer = this.#peers.get(id)
    const own = await this.#acts.ourAcceptance(id)
    if (peer?.version !== 2 || !own) return undefined
    const body = { acceptance: toWire(own) }
    const called = await this.#outbound.call(
      { url: peer.url, known: peer },
      { method: 'POST', target: acceptPath, body },
    )
    if (!called.ok) return called
    await this.#take(id, called.body)
    return undefined
  }

  /** A peer's word came; this pool's goes back, where there is one. */
  async reply({ envelope, verified }: Heard): Promise<Answer> {
    if (envelope.version !== 2) return answerNo(400, 'acceptances are exchanged in version 2')
    if (!(await this.#take(envelope.sender, verified.body))) return answerNo(400, 'invalid acceptance')
    return answerYes({ acceptance: toWire(await this.#acts.ourAcceptance(envelope.sender)) })
  }

  async #take(giver: PoolId, body: unknown): Promise<boolean> {
    const read = exchangeSchema.safeParse(body)
    if (!read.success) return false
    if (!read.data.acceptance) return true
    const { level, at, signature } = read.data.acceptance
    const signed = { giver, receiver: this.#self, level, at, signature: Buffer.from(signature, 'base64') }
    return this.#acts.theyAccept(signed)
  }
}
