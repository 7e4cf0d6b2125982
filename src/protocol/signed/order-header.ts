import { z } from 'zod'
import type { Refusal } from '../pool-error.ts'
import { fromBase64url } from './base64url.ts'
import { decodeStrict, encode } from './dag-cbor.ts'
import { decodeSigned, encodeSigned, type Signed } from './envelope.ts'
import { bytes32, wireBytes } from './fields.ts'
import type { Order } from './messages.ts'

/** Header of a request whose payer signed for it. */
export const orderHeader = 'x-lichen-order'

const kinds: Readonly<Record<string, Order['kind']>> = {
  '/v1/chat/completions': 'chat',
  '/v1/completions': 'completion',
  '/v1/embeddings': 'embedding',
}

/** The kind of request that a path of the API takes; undefined for those that cost nothing. */
export const orderKindOf = (path: string): Order['kind'] | undefined =>
  Object.hasOwn(kinds, path) ? kinds[path] : undefined

/** What the header carries: the order, and what opens its commitment to the body. */
export interface OrderHeader {
  readonly order: Signed<'order/1'>
  /** 32 bytes. */
  readonly salt: Buffer
}

export type ParsedOrderHeader =
  | { readonly ok: true; readonly header: OrderHeader }
  | { readonly ok: false; readonly refusal: Refusal }

const headerSchema = z.strictObject({ order: wireBytes, salt: bytes32 })

/** base64url of dag-cbor `{order: wire form, salt}`. */
export function encodeOrderHeader({ order, salt }: OrderHeader): string {
  return encode({ order: encodeSigned(order), salt }).toString('base64url')
}

/** Never throws; everything about the text is checked, nothing about the order: {@link checkOrder}. */
export function decodeOrderHeader(value: string): ParsedOrderHeader {
  const bytes = fromBase64url(value)
  if (!bytes) return refuse('it is not canonical base64url')
  const decoded = decodeStrict(bytes)
  if (!decoded.ok) return refuse(decoded.problem)
  const parsed = headerSchema.safeParse(decoded.value)
  if (!parsed.success) return refuse('it does not hold an order and a salt')
  const order = decodeSigned(parsed.data.order, 'order/1')
  if (!order.ok) return refuse(order.problem)
  return { ok: true, header: { order: order.signed, salt: parsed.data.salt } }
}

function refuse(problem: string): ParsedOrderHeader {
  return {
    ok: false,
    refusal: {
      code: 'order_invalid',
      message: `The header ${orderHeader} cannot be read: ${problem}.`,
      fix: 'Send it as the client library of this product writes it.',
    },
  }
}
