import type { Identity } from '#crypto'
import { assuranceLevels, copiesOf } from '../assurance.ts'
import { parseModelName } from '../openai/model-name.ts'
import { parseOpenAiRequest } from '../openai/parse-request.ts'
import type { OpenAiKind } from '../openai/request-parts.ts'
import { bodyCommitment } from './body-commitment.ts'
import { toSigned, unsigned } from './envelope.ts'
import type { Order } from './messages.ts'
import { orderCap } from './order-cap.ts'
import { encodeOrderHeader } from './order-header.ts'
import type { PriceList } from './price-list.ts'
import { signBatch } from './signature.ts'

export interface OrderSettings {
  readonly payer: Identity
  /** Asked for when the first order is signed, and again after {@link OrderSigner.forgetPrices}. */
  readonly fetchPrices: () => Promise<PriceList>
  /** A number never given before for this payer key; see {@link timeSequence}. */
  readonly nextSeq: () => number | Promise<number>
  readonly runtime: { now(): number; randomBytes(n: number): Buffer }
}

/** A pool that queues and streams for long has accepted the order well before. */
const lifetimeMs = 600_000

/** Signs one order for each request, over its exact bytes and for no more than it can cost. */
export class OrderSigner {
  readonly #settings: OrderSettings
  #prices: Promise<PriceList> | undefined

  constructor(settings: OrderSettings) {
    this.#settings = settings
  }

  /**
   * The value of `x-lichen-order` for a body; undefined when there is nothing to sign, because the pool will refuse the body or has no price
   * for its model. `assurance` is what the request's header asks for.
   * Rejects when the prices cannot be had.
   */
  async headerFor(kind: OpenAiKind, body: Buffer, assurance?: string | null): Promise<string | undefined> {
    const parsed = parseOpenAiRequest(kind, body)
    if (!parsed.ok) return undefined
    const { request } = parsed
    const list = await this.#priceList()
    const { name, digest } = parseModelName(request.model)
    const prices = list.pricesOf(name)
    if (!prices) return undefined
    const { payer, runtime, nextSeq } = this.#settings
    const level = assuranceLevels.find((one) => one === (assurance ?? request.assurance)) ?? 'sampled'
    const copies = copiesOf(level, list.requiredWorkers)
    const salt = runtime.randomBytes(32)
    const order: Order = {
      pool: list.pool,
      payer: payer.publicKey,
      custody: 'payer',
      account: list.account,
      job: null,
      seq: await nextSeq(),
      kind,
      model: name,
      digest: digest === undefined ? null : Buffer.from(digest, 'hex'),
      cap: orderCap(kind, request, body.length, prices, copies),
      prices,
      assurance: level,
      expires: runtime.now() + lifetimeMs,
      commitment: bodyCommitment(salt, body),
    }
    const item = unsigned('order/1', order)
    const [signature] = signBatch(payer, [item])
    if (!signature) throw new Error('one message has one signature')
    return encodeOrderHeader({ order: toSigned('order/1', order, item.bytes, signature), salt })
  }

  /** The pool said they are out of date. */
  forgetPrices(): void {
    this.#prices = undefined
  }

  async #priceList(): Promise<PriceList> {
    this.#prices ??= this.#settings.fetchPrices()
    try {
      return await this.#prices
    } catch (error) {
      this.#prices = undefined
      throw error
    }
  }
}

/** Refusals that a fresh number or fresh prices may cure. Nothing was reserved when they are given. */
export const curableRefusals: readonly string[] = ['order_replayed', 'order_over_cap', 'order_expired']
