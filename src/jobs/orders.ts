import { type Identity, sha256 } from '#crypto'
import {
  type Assignment,
  BatchSigner,
  bodyCommitment,
  checkOrder,
  digestOf,
  encodeOwnMessage,
  encodeSigned,
  epochOf,
  type Order,
  PoolError,
  payerSignatureRequired,
  type Refusal,
  SignatureChecker,
  type Signed,
  toSigned,
} from '#protocol'
import type { Runtime } from '#runtime'
import type { Papers } from '#workers'
import type { AcceptedRequest } from './accepted-request.ts'
import { wishOf } from './assurance.ts'
import { promptTokensMax } from './count-usage.ts'
import { jobsLimits } from './limits.ts'

/** Micro-credits for one token. */
export interface Prices {
  readonly prompt: bigint
  readonly completion: bigint
}

/** What a request may cost, known before it is accepted. */
export interface Terms {
  readonly prices: Prices
  /** Most prompt and completion tokens it can be billed for. */
  readonly promptTokens: number
  readonly completionTokens: number
  /** The most it can cost, micro-credits: what is held. */
  readonly cap: bigint
}

/** A request's order, and what opens its commitment to the body. */
export interface Ordered {
  readonly order: Signed<'order/1'>
  readonly terms: Terms
  /** 32 bytes, in memory only. */
  readonly salt: Buffer
  /** 16 bytes by which its assignments belong together. */
  readonly pseudonym: Buffer
}

/** What an assignment is about, besides its order. */
export type Segment = Pick<
  Assignment,
  'attempt' | 'choice' | 'model' | 'digest' | 'prefix' | 'prefixTokens' | 'seed' | 'maxTokens' | 'decode'
> & { readonly worker: Buffer; readonly deadlineAt: number; readonly showOrder: boolean }

/**
 * Orders and assignments of a pool. An order is the payer's own, checked, or the pool signs as custodian; those of one turn of the event
 * loop share a signature, and so do assignments.
 */
export class Orders {
  readonly #pool: Identity
  readonly #poolId: Buffer
  readonly #runtime: Runtime
  readonly #signer: BatchSigner
  readonly #checker = new SignatureChecker()
  readonly #pricesFor: (model: string) => Promise<Prices>
  readonly #payerSignature: 'optional' | 'required'

  constructor(options: {
    readonly pool: Identity
    readonly runtime: Runtime
    readonly pricesFor: (model: string) => Promise<Prices>
    /** For the whole pool; a key may ask for more. */
    readonly payerSignature: 'optional' | 'required'
  }) {
    this.#pool = options.pool
    this.#poolId = sha256(options.pool.publicKey)
    this.#runtime = options.runtime
    this.#signer = new BatchSigner(options.pool)
    this.#pricesFor = options.pricesFor
    this.#payerSignature = options.payerSignature
  }

  /** 32 raw bytes. */
  get poolId(): Buffer {
    return this.#poolId
  }

  /** The signatures of workers are checked here, so that a batch of theirs costs one verification. */
  get checker(): SignatureChecker {
    return this.#checker
  }

  /** `copies`: answers that are computed and billed for each choice. */
  async terms(request: AcceptedRequest, copies: number): Promise<Terms> {
    const prices = request.key.lent?.prices ?? (await this.#pricesFor(request.model))
    const promptTokens = promptTokensMax(request) * copies
    const completionTokens = request.maxTokens * request.choices * copies
    const cap = BigInt(promptTokens) * prices.prompt + BigInt(completionTokens) * prices.completion
    return { prices, promptTokens, completionTokens, cap }
  }

  /**
   * @throws PoolError order_invalid, order_expired, order_over_cap, order_wrong_pool, payer_signature_required.
   */
  async order(request: AcceptedRequest, jobId: string, expires: number, copies: number): Promise<Ordered> {
    const terms = await this.terms(request, copies)
    const pseudonym = this.#runtime.randomBytes(16)
    const required = this.#payerSignature === 'required' || request.key.payerSignature === 'required'
    if (request.order) {
      const { order, salt } = request.order
      this.#check(request, terms, required)
      // What the payer allows and the pool does not need is not held.
      return { order, terms, salt, pseudonym }
    }
    if (required) throw PoolError.from(payerSignatureRequired())
    const salt = this.#runtime.randomBytes(32)
    return { order: await this.#asCustodian(request, terms, salt, jobId, expires), terms, salt, pseudonym }
  }

  /** The papers of one attempt. */
  async assign(
    { order, terms, salt, pseudonym }: Ordered,
    segment: Segment,
  ): Promise<{ hash: Buffer; papers: Papers }> {
    const { deadlineAt, showOrder, ...rest } = segment
    const assignment: Assignment = {
      ...rest,
      order: order.hash,
      pool: this.#poolId,
      kind: order.message.kind,
      commitment: order.message.commitment,
      cap: terms.cap,
      prices: terms.prices,
      epoch: epochOf(this.#runtime.now()),
      expires: deadlineAt + jobsLimits.assignmentSlackMs,
      pseudonym,
    }
    const bytes = encodeOwnMessage('assignment/1', assignment)
    const hash = digestOf('assignment/1', bytes)
    const signature = await this.#signer.sign('assignment/1', bytes)
    const wire = encodeSigned({ bytes, signature })
    return { hash, papers: { assignment: wire, salt, order: showOrder ? encodeSigned(order) : null } }
  }

  #check(request: AcceptedRequest, terms: Terms, required: boolean): void {
    const { key, order } = request
    if (!order) return
    // Another's job id in one's own order must never name that job.
    if (order.order.message.job !== null) throw PoolError.from(foreignJob)
    const refusal = checkOrder(order.order, {
      checker: this.#checker,
      now: this.#runtime.now(),
      poolKey: this.#pool.publicKey,
      kind: request.kind,
      model: request.model,
      digest: request.digest ? Buffer.from(request.digest, 'hex') : order.order.message.digest,
      prices: terms.prices,
      // What is only the pool's policy leaves it to the order.
      assurance: wishOf(request).explicit ? wishOf(request).level : undefined,
      needed: terms.cap,
      account: key.account,
      payerKey: key.payerKey,
      payerSignature: required ? 'required' : 'optional',
      salt: order.salt,
      body: request.body,
    })
    if (refusal) throw PoolError.from(refusal)
  }

  async #asCustodian(
    request: AcceptedRequest,
    terms: Terms,
    salt: Buffer,
    job: string,
    expires: number,
  ): Promise<Signed<'order/1'>> {
    const order: Order = {
      pool: this.#poolId,
      payer: this.#pool.publicKey,
      custody: 'pool',
      account: request.key.account,
      job,
      seq: null,
      kind: request.kind,
      model: request.model,
      digest: request.digest ? Buffer.from(request.digest, 'hex') : null,
      cap: terms.cap,
      prices: terms.prices,
      assurance: wishOf(request).level,
      expires,
      commitment: bodyCommitment(salt, request.body),
    }
    const bytes = encodeOwnMessage('order/1', order)
    return toSigned('order/1', order, bytes, await this.#signer.sign('order/1', bytes))
  }
}

const foreignJob: Refusal = {
  code: 'order_invalid',
  message: 'The order names a job; job ids are given by the pool.',
  fix: 'Leave `job` null in an order that a payer signs.',
}
