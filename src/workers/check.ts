import {
  type CheckHeader,
  commitmentOf,
  decodeEvidence,
  decodeSigned,
  type Evidence,
  messageType,
  PoolError,
  type SignatureChecker,
} from '#protocol'
import { encodeCheckId } from './encode-message.ts'
import { Errand, type ErrandLink, type ErrandMessage } from './errand.ts'
import { answersAsk } from './evidence-fits.ts'
import { workersLimits } from './limits.ts'
import type { CommittedToken } from './messages.ts'
import { commitmentRefused, evidenceRefused, revealRefused } from './refusals.ts'

/** An answer to look at again, and how. */
export type CheckAsk = Omit<CheckHeader, 'check' | 'bodyBytes'> & {
  /** The raw HTTP body. */
  readonly body: Buffer
  /** The answer from its first token on, as its worker committed to it. */
  readonly tokens: readonly CommittedToken[]
}

/** A verifier is bound to what it saw. */
export interface CheckCommitment {
  /** 32 bytes. */
  readonly commitment: Buffer
  /** The signed `commitment/1` in wire form, for the record. */
  readonly wire: Buffer
}

/** What it saw, in the bytes it committed to. */
export interface CheckReveal {
  readonly evidence: Evidence
  readonly bytes: Buffer
  readonly nonce: Buffer
}

/** One check at one worker. Whatever is waited for rejects with a PoolError, or with the signal's reason. */
export interface CheckRun {
  /** UUID; names it in the commitment. */
  readonly id: string
  readonly committed: Promise<CheckCommitment>
  /** Asks for the evidence. Refused with `reveal_refused` before the worker has committed. */
  reveal(): Promise<CheckReveal>
}

/** Who is asked. */
export interface Verifier {
  /** sha256 of its key, 32 bytes. */
  readonly worker: Buffer
  readonly publicKey: Buffer
  readonly checker: SignatureChecker
}

/**
 * One check, as the pool sees it: asked ──committed──▶ bound ──reveal──▶ revealing ──evidence──▶ done.
 * Whatever else ends it: {@link Errand}.
 */
export class Check extends Errand implements CheckRun {
  readonly #ask: CheckAsk
  readonly #verifier: Verifier
  readonly #committed = Promise.withResolvers<CheckCommitment>()
  readonly #revealed = Promise.withResolvers<CheckReveal>()
  #stage: 'asked' | 'bound' | 'revealing' = 'asked'
  #commitment: Buffer | undefined

  constructor(id: string, ask: CheckAsk, signal: AbortSignal, verifier: Verifier, link: ErrandLink) {
    super(id, ask.deadlineMs, signal, link)
    this.#ask = ask
    this.#verifier = verifier
    for (const { promise } of [this.#committed, this.#revealed]) promise.catch(() => {})
  }

  get committed(): Promise<CheckCommitment> {
    return this.#committed.promise
  }

  reveal(): Promise<CheckReveal> {
    if (this.#stage === 'bound' && this.open) {
      this.#stage = 'revealing'
      this.until = this.link.now() + workersLimits.evidenceMsMax
      this.link.send(messageType.reveal, encodeCheckId(this.id))
    }
    return this.#stage === 'asked' && this.open ? Promise.reject(PoolError.from(revealRefused)) : this.#revealed.promise
  }

  protected override fail(error: unknown): void {
    this.#committed.reject(error)
    this.#revealed.reject(error)
  }

  protected override hear(message: ErrandMessage): string | undefined {
    if (message.say === 'committed' && this.#stage === 'asked') return this.#bind(message.commitment)
    if (message.say === 'evidence' && this.#stage === 'revealing') return this.#open(message.nonce, message.evidence)
    if (message.say !== 'evidence') return 'A check was answered with what was not asked for.'
    this.fail(PoolError.from(revealRefused))
    return 'Evidence was sent before it was asked for.'
  }

  protected override isLast({ say }: ErrandMessage): boolean {
    return say === 'evidence'
  }

  #bind(wire: Buffer): undefined {
    const { worker, publicKey, checker } = this.#verifier
    const decoded = decodeSigned(wire, 'commitment/1')
    if (!decoded.ok) return this.#refuse('is none')
    const { message, signature, hash } = decoded.signed
    if (message.check !== this.id) return this.#refuse('is to another check')
    if (!message.worker.equals(worker)) return this.#refuse('is that of another worker')
    if (!signature.key.equals(publicKey) || !checker.verify(signature, hash)) return this.#refuse('is not signed by it')
    this.#stage = 'bound'
    this.#commitment = message.commitment
    this.until = this.link.now() + workersLimits.revealMsMax
    this.#committed.resolve({ commitment: message.commitment, wire })
  }

  #refuse(why: string): undefined {
    const refusal = commitmentRefused(why)
    this.link.overstepped(refusal.message)
    this.giveUp(refusal)
  }

  #open(nonce: Buffer, bytes: Buffer): undefined {
    const opened = this.#read(nonce, bytes)
    if (typeof opened === 'string') {
      const refusal = evidenceRefused(opened)
      this.link.overstepped(refusal.message)
      this.fail(PoolError.from(refusal))
    } else this.#revealed.resolve(opened)
    this.done()
  }

  /** The evidence, or why it is none. Views are copied: it may be kept for long. */
  #read(nonce: Buffer, bytes: Buffer): CheckReveal | string {
    const { worker } = this.#verifier
    const opens = commitmentOf({ check: this.id, worker, nonce, evidence: bytes })
    if (!this.#commitment?.equals(opens)) return 'does not open the commitment'
    const evidence = decodeEvidence(bytes)
    if (!evidence) return 'cannot be read'
    const unfit = answersAsk(evidence, this.#ask)
    return unfit ?? { evidence, bytes: Buffer.from(bytes), nonce: Buffer.from(nonce) }
  }
}
