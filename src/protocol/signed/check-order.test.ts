import { expect, test } from 'vitest'
import { alice, bob, pool, sampleOrder, sampleSalt, signAlone } from '../../testkit/receipt-sample.ts'
import { custodial, orderFacts as facts, wrongOrders } from '../../testkit/wrong-orders.ts'
import { checkOrder } from './check-order.ts'
import { encode } from './dag-cbor.ts'
import { decodeOrderHeader, encodeOrderHeader } from './order-header.ts'

test("alice's order for exactly this request is good", () => {
  expect(checkOrder(signAlone(alice, 'order/1', sampleOrder()), facts)).toBeUndefined()
  const withFile = sampleOrder({ digest: Buffer.alloc(32, 2) })
  expect(checkOrder(signAlone(alice, 'order/1', withFile), facts)).toBeUndefined()
})

test('an order may leave the checking to the pool, want none, or insist on it', () => {
  for (const assurance of ['sampled', 'none', 'required'] as const) {
    expect(checkOrder(signAlone(alice, 'order/1', sampleOrder({ assurance })), facts)).toBeUndefined()
  }
})

test('the pool may sign as custodian unless the payer must', () => {
  const order = signAlone(pool, 'order/1', sampleOrder(custodial))
  expect(checkOrder(order, { ...facts, payerSignature: 'optional' })).toBeUndefined()
  expect(checkOrder(order, facts)).toMatchObject({ code: 'payer_signature_required' })
})

test.each(wrongOrders)('an order with %s is refused as %s', (_, code, order, known) => {
  expect(checkOrder(signAlone(alice, 'order/1', sampleOrder(order)), { ...facts, ...known })).toMatchObject({ code })
})

test("an order in alice's name that bob signed, or that was changed after signing, is refused", () => {
  const forged = signAlone(bob, 'order/1', sampleOrder())
  expect(checkOrder(forged, facts)).toMatchObject({ code: 'order_invalid' })
  const claimed = { ...forged, signature: { ...forged.signature, key: alice.publicKey } }
  expect(checkOrder(claimed, facts)).toMatchObject({ code: 'order_invalid' })
})

test('the header carries order and salt, and has one spelling', () => {
  const order = signAlone(alice, 'order/1', sampleOrder())
  const text = encodeOrderHeader({ order, salt: sampleSalt })
  expect(decodeOrderHeader(text)).toEqual({ ok: true, header: { order, salt: sampleSalt } })
  const wrong = [
    '',
    'not base64url!',
    `${text}=`,
    `${text}A`,
    text.slice(0, -2),
    encode({ order: Buffer.from('x'), salt: sampleSalt }).toString('base64url'),
    encode({ salt: sampleSalt }).toString('base64url'),
    'A'.repeat(100_000),
  ]
  for (const other of wrong) {
    expect(decodeOrderHeader(other)).toMatchObject({ ok: false, refusal: { code: 'order_invalid' } })
  }
})
