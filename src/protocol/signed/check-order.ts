import { sha256 } from '#crypto'
import type { RefusalCode } from '../codes.ts'
import { protocolLimits } from '../limits.ts'
import type { Refusal } from '../pool-error.ts'
import { bodyCommitment } from './body-commitment.ts'
import type { Signed } from './envelope.ts'
import type { Order } from './messages.ts'
import type { SignatureChecker } from './signature-checker.ts'

/** What the pool knows about a request when it is asked whether the order is good for it. */
export interface OrderFacts {
  readonly checker: SignatureChecker
  /** Milliseconds since 1970. */
  readonly now: number
  /** This pool's raw public key. */
  readonly poolKey: Buffer
  readonly kind: Order['kind']
  readonly model: string
  /** sha256 of the model file that would answer; null where there is none. */
  readonly digest: Buffer | null
  /** The pool's own, micro-credits per token. */
  readonly prices: { readonly prompt: bigint; readonly completion: bigint }
  /** What the request or its key asks for; undefined when both leave that to the order. */
  readonly assurance?: string | undefined
  /** The most the request can cost at the pool's prices. */
  readonly needed: bigint
  /** Account of whoever asks. */
  readonly account: string
  /** Registered payer key of that account. */
  readonly payerKey: Buffer | null
  readonly payerSignature: 'optional' | 'required'
  readonly salt: Buffer
  /** As received. */
  readonly body: Buffer
}

/** Why an order is no good for a request, or undefined for "go ahead". Whether it was honoured before only the ledger knows. */
export function checkOrder(
  { message: order, hash, signature }: Signed<'order/1'>,
  facts: OrderFacts,
): Refusal | undefined {
  const { now, poolKey } = facts
  if (!order.pool.equals(sha256(poolKey))) {
    return refuse(
      'order_wrong_pool',
      'The order names another pool.',
      'Ask `GET /v1/prices` for the id of this one and sign again.',
    )
  }
  if (order.custody === 'pool' && facts.payerSignature === 'required') return payerSignatureRequired()
  const payer = order.custody === 'pool' ? poolKey : facts.payerKey
  if (!payer) return invalid('No payer key is registered for this account.', 'Register the public key first.')
  if (!order.payer.equals(payer)) return invalid('The order names another payer key than this account has.')
  if (order.account !== facts.account) return invalid('The order names another account than that of the API key.')
  if (!signature.key.equals(payer) || !facts.checker.verify(signature, hash)) {
    return invalid('The signature of the order does not verify.')
  }
  if (order.expires <= now) {
    return refuse('order_expired', 'The order has expired.', 'Sign a new one; check the clock if it is fresh.')
  }
  if (order.expires - now > protocolLimits.orderLifetimeMsMax) {
    return invalid('The order is good for more than 24 hours.', 'Let it expire sooner.')
  }
  return checkTerms(order, facts)
}

function checkTerms(order: Order, facts: OrderFacts): Refusal | undefined {
  const { prices, needed, digest } = facts
  if (order.kind !== facts.kind) return invalid('The order is for another kind of request.')
  if (order.model !== facts.model) return invalid('The order is for another model.')
  if (order.digest && !(digest && order.digest.equals(digest))) {
    return invalid(
      'The order insists on another model file than is served.',
      'Ask for what is there, or do not insist.',
    )
  }
  if (facts.assurance !== undefined && order.assurance !== facts.assurance) {
    return invalid(
      `The order is for the assurance \`${order.assurance}\`, and \`${facts.assurance}\` is asked for by the request or its key.`,
      'Sign an order for what is asked for; `x-lichen-assurance` tells `lichen proxy` and the client library.',
    )
  }
  if (!order.commitment.equals(bodyCommitment(facts.salt, facts.body))) {
    return invalid('The order commits to another body than was sent.', 'Sign the exact bytes of the body.')
  }
  if (order.prices.prompt < prices.prompt || order.prices.completion < prices.completion) {
    return overCap('The order offers lower prices than the pool has.', 'Ask `GET /v1/prices` and sign again.')
  }
  if (order.cap < needed) {
    return overCap(
      `The order allows ${order.cap} micro-credits and the request may cost ${needed}.`,
      'Ask for fewer tokens, or allow more.',
    )
  }
  return undefined
}

/** Said to a request without an order, and to a pool's own, where only the payer's signature counts. */
export function payerSignatureRequired(): Refusal {
  return refuse(
    'payer_signature_required',
    'This key may only be used with orders signed by its payer.',
    'Use `lichen proxy` or the client library with the payer key.',
  )
}

function refuse(code: RefusalCode, message: string, fix: string): Refusal {
  return { code, message, fix }
}

const invalid = (message: string, fix = 'Sign an order for exactly this request.') =>
  refuse('order_invalid', message, fix)
const overCap = (message: string, fix: string) => refuse('order_over_cap', message, fix)
