import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import {
  alice,
  bob,
  carla,
  pool,
  sampleAssignment,
  sampleOrder,
  sampleReceipt,
  sampleResponse,
  sampleStream,
  sampleTime,
  sampleWorkerStatement,
  sideBySide,
  signAlone,
} from '../testkit/receipt-sample.ts'
import { custodial, orderFacts, wrongOrders } from '../testkit/wrong-orders.ts'
import { edits, lies, rewritten } from '../testkit/wrong-receipts.ts'
import {
  type DecodedSigned,
  decodeSigned,
  digestOf,
  encodeOrderHeader,
  encodeSigned,
  type OrderFacts,
  SignatureChecker,
  type Signed,
  type SignedMessages,
  type SignedType,
  signBatch,
  signedView,
  streamHash,
} from './signed/index.ts'
import { signedOps } from './signed-ops.ts'

const folder = path.join(import.meta.dirname, '../../spec/vectors/receipts')
const read = (file: string) => JSON.parse(readFileSync(path.join(folder, file), 'utf8'))
const text = (value: unknown) => `${JSON.stringify(value, undefined, 1)}\n`
const hex = (bytes: Buffer) => bytes.toString('hex')
const base64 = (bytes: Buffer) => bytes.toString('base64')

function ask(op: string, input: unknown) {
  const operation = signedOps[op]
  if (!operation) throw new Error(`no operation ${op}`)
  return operation(input)
}

const uuid = '018bcfe5-6800-7000-8000-000000000003'
const poolId = Buffer.from(pool.id, 'hex')
const examples: { [T in Exclude<SignedType, 'pool-statement/1'>]: SignedMessages[T] } = {
  'order/1': sampleOrder(),
  'assignment/1': sampleAssignment(),
  'worker-statement/1': sampleWorkerStatement(bob),
  'commitment/1': { check: uuid, worker: Buffer.from(bob.id, 'hex'), commitment: Buffer.alloc(32, 8) },
  'verdict/1': {
    job: uuid,
    receipt: Buffer.alloc(32, 6),
    check: 'replay',
    reason: 'sampled',
    verifier: Buffer.from(carla.id, 'hex'),
    outcome: 'clean',
    score: '0.153',
    epoch: 472_222,
    at: sampleTime,
  },
  'grant/1': { pool: poolId, to: 'user:alice', amount: 5_000_000n, id: uuid, memo: 'welcome', at: sampleTime },
  'transfer/1': {
    pool: poolId,
    from: 'user:alice',
    to: 'user:bob',
    amount: 2_500_000n,
    id: uuid,
    memo: '',
    expires: sampleTime + 60_000,
  },
  'move/1': {
    pool: poolId,
    kind: 'release',
    from: `held:${bob.id}`,
    to: `worker:${bob.id}`,
    amount: 600n,
    id: uuid,
    worker: Buffer.from(bob.id, 'hex'),
    job: null,
    because: 'held long enough',
    at: sampleTime,
  },
  'appeal/1': {
    pool: poolId,
    worker: Buffer.from(bob.id, 'hex'),
    id: uuid,
    statement: 'The file of the model was replaced.',
    evidence: 'sha256 of the old one: …',
    at: sampleTime,
  },
}
const signers = { alice, bob, carla, pool }

function messageVectors() {
  const alone = Object.entries(examples).map(([type, message]) => {
    const signed = signAlone(pool, type as SignedType, message)
    const { bytes, hash } = signed
    return { type, message: signedView(message), bytes: hex(bytes), hash: hex(hash), wire: hex(encodeSigned(signed)) }
  })
  const items = Array.from({ length: 5 }, (_, at) => ({ type: 'order/1' as const, bytes: Buffer.from([at]) }))
  const batch = signBatch(pool, items).map((signature, at) => ({
    type: 'order/1',
    bytes: hex(Buffer.from([at])),
    signature: signedView(signature),
  }))
  const seeds = Object.fromEntries(Object.entries(signers).map(([name, { seed }]) => [name, hex(seed)]))
  return { seeds, signer: 'pool', alone, batch }
}

function orderInput(order: Signed<'order/1'>, known: Partial<OrderFacts> = {}) {
  const { now, kind, model, digest, prices, assurance, needed, account, payerKey, payerSignature, body, salt } = {
    ...orderFacts,
    ...known,
  }
  return {
    header: encodeOrderHeader({ order, salt }),
    body: base64(body),
    now,
    pool_key: hex(pool.publicKey),
    kind,
    model,
    digest: digest && hex(digest),
    prices: signedView(prices),
    ...(assurance === undefined ? {} : { assurance }),
    needed: String(needed),
    account,
    payer_key: payerKey && hex(payerKey),
    payer_signature: payerSignature,
  }
}

function orderVectors() {
  const order = signAlone(alice, 'order/1', sampleOrder())
  const byPool = signAlone(pool, 'order/1', sampleOrder(custodial))
  const forged = { ...signAlone(bob, 'order/1', sampleOrder()), message: sampleOrder() }
  const input = orderInput(order)
  return [
    { comment: "alice's own order", ok: true, input },
    { comment: 'custodial', ok: true, input: orderInput(byPool, { payerSignature: 'optional' }) },
    {
      comment: 'custodial where the payer must sign',
      ok: false,
      code: 'payer_signature_required',
      input: orderInput(byPool),
    },
    { comment: 'signed by bob', ok: false, code: 'order_invalid', input: orderInput(forged) },
    { comment: 'padded header', ok: false, code: 'order_invalid', input: { ...input, header: `${input.header}=` } },
    { comment: 'header cut', ok: false, code: 'order_invalid', input: { ...input, header: input.header.slice(0, -4) } },
    ...wrongOrders.map(([comment, code, changes, known]) => ({
      comment,
      ok: false,
      code,
      input: orderInput(signAlone(alice, 'order/1', sampleOrder(changes)), known),
    })),
  ]
}

function receiptVectors() {
  const stream = sampleReceipt({ statement: { response: streamHash(sampleStream) ?? null } })
  const byPool = sampleReceipt({ order: custodial, orderSigner: pool })
  const good = sampleReceipt().toString()
  const response = sampleResponse.toString()
  return [
    { comment: 'a JSON answer', ok: true, receipt: good, response },
    { comment: 'a streamed answer', ok: true, receipt: stream.toString(), response: sampleStream.toString() },
    { comment: 'custodial', ok: true, receipt: byPool.toString() },
    { comment: 'the only entry of its log but one', ok: true, receipt: sampleReceipt({ leaves: 2 }).toString() },
    { comment: 'side by side, each found the other clean', ok: true, receipt: sampleReceipt(sideBySide()).toString() },
    { comment: 'pinned', ok: true, receipt: good, pool_key: hex(pool.publicKey) },
    { comment: 'pinned to another pool', ok: false, code: 'wrong_pool', receipt: good, pool_key: hex(bob.publicKey) },
    { comment: 'another answer', ok: false, code: 'response_mismatch', receipt: good, response: `${response} ` },
    { comment: 'a line feed at the end', ok: false, code: 'not_canonical', receipt: `${good}\n` },
    { comment: 'nothing', ok: false, code: 'malformed', receipt: '' },
    ...edits.map(([comment, code, change]) => ({ comment, ok: false, code, receipt: rewritten(change).toString() })),
    ...lies.map(([comment, code, changes]) => ({
      comment,
      ok: false,
      code,
      receipt: sampleReceipt(changes).toString(),
    })),
  ]
}

test('the vectors in spec/ are what this code writes', async () => {
  await expect(text(messageVectors())).toMatchFileSnapshot(path.join(folder, 'messages.json'))
  await expect(text(orderVectors())).toMatchFileSnapshot(path.join(folder, 'orders.json'))
  await expect(text(receiptVectors())).toMatchFileSnapshot(path.join(folder, 'receipts.json'))
  await expect(sampleReceipt().toString()).toMatchFileSnapshot(path.join(folder, 'example-receipt.json'))
  await expect(sampleResponse.toString()).toMatchFileSnapshot(path.join(folder, 'example-response.json'))
})

describe('the operations answer every vector', () => {
  test.each(read('dag-cbor.json') as Record<string, unknown>[])('dagcbor.decode: $comment', ({ bytes, ok, value }) => {
    const answer = ask('dagcbor.decode', { bytes: base64(Buffer.from(String(bytes), 'hex')) })
    expect(answer).toMatchObject(ok ? { ok, output: { value } } : { ok, error: { code: 'not_strict' } })
  })

  test.each(read('orders.json') as Record<string, unknown>[])('order.verify: $comment', ({ input, ok, code }) => {
    expect(ask('order.verify', input)).toMatchObject(ok ? { ok } : { ok, error: { code } })
  })

  test.each(read('receipts.json') as Record<string, string>[])('receipt.verify: $comment', (vector) => {
    const { receipt = '', response, pool_key, ok, code } = vector
    const input = {
      receipt: base64(Buffer.from(receipt)),
      ...(response === undefined ? {} : { response: base64(Buffer.from(response)) }),
      ...(pool_key === undefined ? {} : { pool_key }),
    }
    expect(ask('receipt.verify', input)).toMatchObject(ok ? { ok } : { ok, error: { code } })
  })
})

describe('messages and batches as the specification shows them', () => {
  const { seeds, alone, batch } = read('messages.json')
  const key = identityFromSeed(Buffer.from(seeds.pool, 'hex')).publicKey
  const checker = new SignatureChecker()

  test.each(alone as Record<string, string>[])('$type', ({ type = '', message, bytes, hash, wire = '' }) => {
    const decoded: DecodedSigned<SignedType> = decodeSigned(Buffer.from(wire, 'hex'), type as SignedType)
    if (!decoded.ok) throw new Error(decoded.problem)
    const { signed } = decoded
    expect([hex(signed.bytes), hex(signed.hash), signedView(signed.message)]).toEqual([bytes, hash, message])
    expect(signed.signature.key.equals(key) && checker.verify(signed.signature, signed.hash)).toBe(true)
  })

  test('five messages under one signature', () => {
    for (const { type, bytes, signature } of batch) {
      const { key: by, sig, index, size, path: siblings } = signature
      const decoded = {
        key: Buffer.from(by, 'hex'),
        sig: Buffer.from(sig, 'hex'),
        index,
        size,
        path: siblings.map((one: string) => Buffer.from(one, 'hex')),
      }
      expect(checker.verify(decoded, digestOf(type, Buffer.from(bytes, 'hex')))).toBe(true)
    }
  })
})
