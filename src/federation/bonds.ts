import { z } from 'zod'
import type { PoolId } from '#protocol'
import type { AcceptanceFault, SignedAcceptance } from './acceptance.ts'
import { adminSignatureSchema } from './admin-request.ts'
import type { NotCalled, Outbound } from './outbound.ts'
import type { Peers } from './peers.ts'
import type { Heard } from './receiver.ts'
import { type Answer, answerNo, answerYes } from './signed-route.ts'
import type { TrustActs } from './trust-acts.ts'

export const acceptPath = '/v1/federation/peer/accept'

const exchangeSchema = z.object({ acceptance: adminSignatureSchema.extend({ level: z.literal([3, 4]) }).nullable() })

const toWire = (own: SignedAcceptance | undefined) =>
  own ? { level: own.level, key_id: own.key_id, signed_at: own.signed_at, signature: own.signature } : null

/** Why the bond is not whole yet, as far as the last exchange has shown. */
export interface BondProblem {
  /** Who would not take whose word. */
  readonly by: 'us' | 'them'
  readonly why: AcceptanceFault
  /** Hex sha256 of the admin's key that signed it. */
  readonly keyId: string
  /** The same in a sentence, with what to do about it. */
  readonly text: string
}

/** Exchanges acceptances: each pool keeps the word of the other's admin, and neither is bonded before both have it. */
export class Bonds {
  readonly #acts: TrustActs
  readonly #outbound: Outbound
  readonly #peers: Peers
  readonly #self: PoolId
  /** By pool and by whose word it is. */
  readonly #problems = new Map<string, BondProblem>()

  constructor(self: PoolId, acts: TrustActs, outbound: Outbound, peers: Peers) {
    this.#self = self
    this.#acts = acts
    this.#outbound = outbound
    this.#peers = peers
  }

  /** What stood in the way when acceptances were exchanged last; forgotten when this process ends. */
  problemsOf(id: PoolId): readonly BondProblem[] {
    return (['us', 'them'] as const).flatMap((by) => this.#problems.get(`${id} ${by}`) ?? [])
  }

  #note(id: PoolId, by: BondProblem['by'], why: AcceptanceFault | undefined, keyId: string): void {
    const text = () => problemText[`${by}:${why as AcceptanceFault}`](keyId.slice(0, 12), by === 'us' ? id : this.#self)
    if (why) this.#problems.set(`${id} ${by}`, { by, why, keyId, text: text() })
    else this.#problems.delete(`${id} ${by}`)
  }

  /** Gives the word of an admin here to a version 2 peer, and takes its admin's word. Undefined: done, or there is nothing to give or to take. */
  async exchange(id: PoolId): Promise<NotCalled | undefined> {
    const peer = this.#peers.get(id)
    const own = await this.#acts.ourAcceptance(id)
    const refusedTheirs = this.#problems.has(`${id} us`)
    if (peer?.version !== 2 || !(own || refusedTheirs)) return undefined
    const body = { acceptance: toWire(own) }
    const called = await this.#outbound.call(
      { url: peer.url, known: peer },
      { method: 'POST', target: acceptPath, body },
    )
    const why = called.ok ? undefined : faults.find((fault) => called.message === refusalText(fault))
    if (own && (called.ok || why)) this.#note(id, 'them', why, own.key_id)
    if (!called.ok) return called
    await this.#take(id, called.body)
    return undefined
  }

  /** The word of a peer's admin came; that of one here goes back, where there is one. */
  async reply({ envelope, verified }: Heard): Promise<Answer> {
    if (envelope.version !== 2) return answerNo(400, 'acceptances are exchanged in version 2')
    const taken = await this.#take(envelope.sender, verified.body)
    if (taken === 'malformed') return answerNo(400, 'malformed acceptance')
    if (taken) return answerNo(403, refusalText(taken))
    return answerYes({ acceptance: toWire(await this.#acts.ourAcceptance(envelope.sender)) })
  }

  async #take(giver: PoolId, body: unknown): Promise<AcceptanceFault | 'malformed' | undefined> {
    const read = exchangeSchema.safeParse(body)
    if (!read.success) return 'malformed'
    const { acceptance } = read.data
    if (!acceptance) return undefined
    const why = await this.#acts.theyAccept({ ...acceptance, giver, receiver: this.#self })
    this.#note(giver, 'us', why, acceptance.key_id)
    return why
  }
}

/** Of an admin's key, and the pool it is an admin of. */
const problemText: Record<`${BondProblem['by']}:${AcceptanceFault}`, (key: string, giver: PoolId) => string> = {
  'us:unknown_admin': (key, giver) =>
    `It says that its admin has signed with the key ${key}, which nobody registered here. Ask that admin for it in person, then: lichen fed admin-keys add ${giver.slice(0, 12)} NAME PUBLIC_KEY`,
  'us:signature': (key) =>
    `What it says its admin has signed with the key ${key} does not hold. Ask that admin to sign again.`,
  'us:from_the_future': () => 'Our clock is behind that of its admin.',
  'them:unknown_admin': (key, giver) =>
    `Its human does not know our admin key ${key} yet. Tell them its public half (lichen admin-key ls); there: lichen fed admin-keys add ${giver.slice(0, 12)} NAME PUBLIC_KEY`,
  'them:signature': (key) => `It says that the signature by our admin key ${key} does not hold. Sign again.`,
  'them:from_the_future': () => 'Its clock is behind ours, or ours ahead.',
}

const faults: readonly AcceptanceFault[] = ['unknown_admin', 'signature', 'from_the_future']
const refusalText = (why: AcceptanceFault) => `acceptance: ${why}`
