import { type Order, type OrderFacts, SignatureChecker } from '#protocol'
import { alice, bob, pool, sampleBody, sampleOrder, sampleSalt, sampleTime } from './receipt-sample.ts'

/** What the pool of the samples knows of alice's request. */
export const orderFacts: OrderFacts = {
  checker: new SignatureChecker(),
  now: sampleTime,
  poolKey: pool.publicKey,
  kind: 'chat',
  model: 'demo',
  digest: Buffer.alloc(32, 2),
  prices: { prompt: 100n, completion: 400n },
  needed: 100_000n,
  account: sampleOrder().account,
  payerKey: alice.publicKey,
  payerSignature: 'required',
  salt: sampleSalt,
  body: sampleBody,
}

/** Members of an order that the pool signs as custodian. */
export const custodial: Partial<Order> = {
  custody: 'pool',
  payer: pool.publicKey,
  seq: null,
  job: '018bcfe5-6800-7000-8000-000000000001',
}

/** Orders that alice may sign, what the pool may know, and the code of the refusal. */
export const wrongOrders: [string, string, Partial<Order>, Partial<OrderFacts>][] = [
  ['another pool', 'order_wrong_pool', { pool: Buffer.alloc(32, 1) }, {}],
  ['another payer', 'order_invalid', { payer: bob.publicKey }, {}],
  ['no registered payer key', 'order_invalid', {}, { payerKey: null }],
  ['the account of somebody else', 'order_invalid', { account: 'user:bob' }, {}],
  ['an end that has come', 'order_expired', { expires: sampleTime }, {}],
  ['an end too far away', 'order_invalid', { expires: sampleTime + 86_400_001 }, {}],
  ['another kind', 'order_invalid', { kind: 'completion' }, {}],
  ['another model', 'order_invalid', { model: 'large' }, {}],
  ['another model file', 'order_invalid', { digest: Buffer.alloc(32, 3) }, {}],
  ['a model file where there is none', 'order_invalid', { digest: Buffer.alloc(32, 3) }, { digest: null }],
  ['another assurance', 'order_invalid', { assurance: 'required' }, { assurance: 'sampled' }],
  ['less assurance than is asked for', 'order_invalid', { assurance: 'none' }, { assurance: 'deterministic' }],
  ['another body', 'order_invalid', {}, { body: Buffer.from('{}') }],
  ['another salt', 'order_invalid', {}, { salt: Buffer.alloc(32) }],
  ['a lower prompt price', 'order_over_cap', { prices: { prompt: 99n, completion: 400n } }, {}],
  ['a lower completion price', 'order_over_cap', { prices: { prompt: 100n, completion: 399n } }, {}],
  ['a cap below what may be needed', 'order_over_cap', { cap: 99_999n }, {}],
  [
    'a custodian that is not the pool',
    'order_invalid',
    { ...custodial, payer: alice.publicKey },
    { payerSignature: 'optional' },
  ],
]
