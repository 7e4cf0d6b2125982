import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { identityFromSeed, type Identity as Key } from '#crypto'
import { type LedgerOp, ledgerStage } from '#ledger'
import {
  bodyCommitment,
  encodeMessage,
  type Order,
  type OrderHeader,
  signBatch,
  toSigned,
  verifyReceipt,
} from '#protocol'
import { systemRuntime } from '#runtime'
import { part } from '#storage'
import { testPool } from '#testkit'
import { SmallPool } from '../testkit/small-pool.ts'
import {
  afterWords,
  answersIn,
  diesAfter,
  hangsAfter,
  type Plan,
  type SmallClient,
  smallAccount,
  smallDigest,
  smallPayer,
  smallRequest,
} from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

let home: TestDatabase
let pool: SmallPool
beforeAll(async () => {
  home = await testDatabase()
  pool = await SmallPool.open(home.database)
})
afterAll(async () => {
  await pool[Symbol.asyncDispose]()
  await home.drop()
})

const viewOf = (file: Buffer) => JSON.parse(file.toString()).view.statement
const balance = async (name: string) => (await pool.ledger.balance(name)).posted

/** Without everybody who was there before. */
function joinAlone(name: string, options: Parameters<SmallPool['workers']['join']>[1]) {
  const worker = pool.workers.join(name, options)
  return { worker, [Symbol.dispose]: () => worker.die() }
}

async function whole(client: SmallClient): Promise<Buffer> {
  await client.ended
  return pool.receipt(client)
}

test('every answer leaves a receipt that a stranger can check, and the worker, the pool and the treasury are paid', async () => {
  using ann = joinAlone('ann', { plan: answersIn(10) })
  const before = await balance(`held:${ann.worker.id}`).catch(() => 0n)
  const file = await whole(await pool.ask({ maxTokens: 50, promptBytes: 20 }))
  expect(verifyReceipt(file, { poolKey: testPool.publicKey })).toMatchObject({ ok: true })
  // 3 prompt tokens at 100 and 10 at 400 micro-credits; 60 % are the worker's.
  expect(viewOf(file)).toMatchObject({ price: '4300', usage: { prompt: 3, completion: 10 }, state: 'completed' })
  expect((await balance(`held:${ann.worker.id}`)) - before).toBe(2_580n)
  expect(await pool.ledger.holds()).toEqual([])
})

test('what a worker does not sign for is on record as a fault, and nobody pays for it', async () => {
  using _ = joinAlone('mute', { plan: answersIn(10), signs: false })
  const client = await pool.ask()
  const file = await whole(client)
  expect((await client.ended).usage).toEqual({ promptTokens: 3, completionTokens: 10 })
  expect(viewOf(file)).toMatchObject({ price: '0', transfer: null, segments: [{ tokens: 10, signed: false }] })
  expect((await pool.record(client)).segments).toMatchObject([{ fault: 'unsigned', signed: false }])
  expect(verifyReceipt(file, {})).toMatchObject({ ok: true })
})

test('of an answer that was taken over, the lost worker is unpaid and both are on the receipt', async () => {
  using first = joinAlone('first', { plan: diesAfter(4) })
  const client = await pool.ask({ maxTokens: 10 })
  using second = joinAlone('second', { plan: answersIn(10) })
  const file = await whole(client)
  const { segments, exposure, usage } = viewOf(file)
  expect(segments).toMatchObject([
    { worker: first.worker.id, tokens: 4, signed: false },
    { worker: second.worker.id, tokens: 6, signed: true },
  ])
  expect([exposure, usage.completion]).toEqual([[first.worker.id, second.worker.id], 6])
  expect(verifyReceipt(file, {})).toMatchObject({ ok: true })
})

test('a client that leaves pays for what the worker had sent and signed', async () => {
  using _ = joinAlone('ann', { plan: hangsAfter(5) })
  const client = await pool.ask()
  await expect.poll(() => client.texts[0]?.length ?? 0).toBeGreaterThan(10)
  client.handle?.cancel()
  const file = await pool.receipt(client)
  const { state, usage, price } = viewOf(file)
  expect([state, price]).toEqual(['cancelled', String(BigInt(usage.completion) * 400n)])
  expect(usage.completion).toBeGreaterThan(0)
  expect(verifyReceipt(file, {})).toMatchObject({ ok: true })
})

test('a worker that is slow to sign for an answer its client has left is on record as its receipt says', async () => {
  using ann = joinAlone('ann', { plan: hangsAfter(5), lastWordMs: 400 })
  const client = await pool.ask()
  await afterWords(client, 1)
  client.handle?.cancel()
  const job = client.handle?.id ?? ''
  // Several writings of leases later nothing says yet that the attempt is over.
  await systemRuntime.sleep(250)
  expect((await pool.jobs.show(job))?.segments).not.toMatchObject([{ outcome: 'cancelled' }])
  const file = await pool.receipt(client)
  expect(viewOf(file).segments).toMatchObject([{ worker: ann.worker.id, signed: true }])
  expect((await pool.record(client)).segments).toMatchObject([{ outcome: 'cancelled', signed: true }])
})

test('choices of one job come from files of one digest, or all from upstreams without one', async () => {
  using file = joinAlone('file', { slots: 1, plan: answersIn(2) })
  using _ = joinAlone('upstream', { slots: 1, offers: [{ digest: null, engine: 'openai' }], plan: answersIn(2) })
  for (let n = 0; n < 10; n++) {
    const receipt = await whole(await pool.ask({ choices: 3 }))
    expect(verifyReceipt(receipt, {})).toMatchObject({ ok: true })
    const { digest, exposure } = viewOf(receipt)
    expect([digest, exposure.includes(file.worker.id)]).toEqual(digest ? [smallDigest, true] : [null, false])
  }
})

test('a worker that is busy again and again is a failed one, and the receipt lists who gave something', async () => {
  const busy = { code: 'overloaded' } as const
  using _ = joinAlone('busy', {
    plan: async (run) => {
      await systemRuntime.sleep(150)
      run.fail(busy)
    },
  })
  const client = await pool.ask()
  using ann = joinAlone('ann', { plan: answersIn(2) })
  const file = await whole(client)
  expect(viewOf(file).segments).toMatchObject([{ worker: ann.worker.id, tokens: 2, signed: true }])
  expect(viewOf(file).exposure).toHaveLength(2)
  expect(verifyReceipt(file, {})).toMatchObject({ ok: true })
})

test('a worker that says its end late is paid all the same', async () => {
  using _ = joinAlone('slow', { plan: (run) => run.answer(5) })
  const file = await whole(await pool.ask({ maxTokens: 5 }))
  expect(viewOf(file)).toMatchObject({ state: 'completed', usage: { completion: 5 }, segments: [{ signed: true }] })
})

test('a claim that cannot be costs nothing', async () => {
  const plan: Plan = async (run) => {
    await run.answer(2)
    run.end('stop', { promptTokens: 9_999 })
  }
  using _ = joinAlone('greedy', { plan })
  const client = await pool.ask()
  const file = await whole(client)
  expect(viewOf(file)).toMatchObject({ usage: { prompt: 0, completion: 2 } })
  expect((await pool.record(client)).segments).toMatchObject([{ fault: 'over_claim', promptClaim: 9_999 }])
})

test('a request that fails costs nothing and says so', async () => {
  using _ = joinAlone('ann', { plan: (run) => run.fail({ code: 'invalid_request' }, false) })
  const file = await whole(await pool.ask())
  expect(viewOf(file)).toMatchObject({ state: 'failed', price: '0', transfer: null })
  expect(await pool.ledger.holds()).toEqual([])
})

/** What alice asks for, in her words, signed by her or somebody else. */
function signedOrder(signer: Key, more: Partial<Order>): OrderHeader {
  const salt = Buffer.alloc(32, 4)
  const order: Order = {
    pool: Buffer.from(testPool.id, 'hex'),
    payer: identityFromSeed(Buffer.alloc(32, 9)).publicKey,
    custody: 'payer',
    account: smallAccount,
    job: null,
    seq: 0,
    kind: 'chat',
    model: 'moss',
    digest: null,
    cap: 1_000_000n,
    prices: { prompt: 100n, completion: 400n },
    assurance: 'sampled',
    expires: systemRuntime.now() + 60_000,
    commitment: bodyCommitment(salt, smallRequest().body),
    ...more,
  }
  const bytes = encodeMessage('order/1', order)
  const [signature] = signBatch(signer, [{ type: 'order/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  return { order: toSigned('order/1', order, bytes, signature), salt }
}

describe('an order signed by the payer', () => {
  const alice = identityFromSeed(Buffer.alloc(32, 9))
  const key = smallPayer('key-alice', { payerKey: alice.publicKey })
  let seq = Date.now()

  const orderOf = (more: Partial<Order> = {}, signer = alice) => signedOrder(signer, { seq: ++seq, ...more })

  test('is honoured once, and the receipt says whose signature it was', async () => {
    using _ = joinAlone('ann', { plan: answersIn(3) })
    const order = orderOf()
    const file = await whole(await pool.ask({ key, order }))
    expect(viewOf(file)).toMatchObject({ custody: 'payer' })
    expect(verifyReceipt(file, {})).toMatchObject({ ok: true })
    await expect(pool.ask({ key, order })).rejects.toMatchObject({ code: 'order_replayed' })
    await expect(pool.ask({ key, order: orderOf({ seq: order.order.message.seq }) })).rejects.toMatchObject({
      code: 'order_replayed',
    })
  })

  test('may overtake others, but not come 4,096 behind', async () => {
    using _ = joinAlone('ann', { plan: answersIn(1) })
    const first = ++seq
    seq += 10
    await (await pool.ask({ key, order: orderOf() })).ended
    await (await pool.ask({ key, order: orderOf({ seq: first }) })).ended
    const late = ++seq
    seq = late + 4_096
    await (await pool.ask({ key, order: orderOf({ seq }) })).ended
    await expect(pool.ask({ key, order: orderOf({ seq: late }) })).rejects.toMatchObject({ code: 'order_replayed' })
  })

  test.each<[string, Partial<Order>]>([
    ['order_wrong_pool', { pool: Buffer.alloc(32) }],
    ['order_expired', { expires: systemRuntime.now() - 1 }],
    ['order_over_cap', { cap: 10n }],
    ['order_over_cap', { prices: { prompt: 1n, completion: 1n } }],
    ['order_invalid', { job: '00000000-0000-7000-8000-000000000001' }],
    ['order_invalid', { model: 'other' }],
    ['order_invalid', { account: 'user:00000000-0000-7000-8000-0000000000ff' }],
    ['order_invalid', { commitment: Buffer.alloc(32) }],
  ])('is refused with %s when it says %o', async (code, wrong) => {
    using _ = joinAlone('ann', { plan: answersIn(1) })
    await expect(pool.ask({ key, order: orderOf(wrong) })).rejects.toMatchObject({ code })
  })

  test('by somebody else is refused', async () => {
    using _ = joinAlone('ann', { plan: answersIn(1) })
    const order = orderOf({}, identityFromSeed(Buffer.alloc(32, 8)))
    await expect(pool.ask({ key, order })).rejects.toMatchObject({ code: 'order_invalid' })
  })

  test('is demanded where the key demands it', async () => {
    using _ = joinAlone('ann', { plan: answersIn(1) })
    const strict = { ...key, payerSignature: 'required' as const }
    await expect(pool.ask({ key: strict })).rejects.toMatchObject({ code: 'payer_signature_required' })
    await (await pool.ask({ key: strict, order: orderOf() })).ended
  })

  test('is what a worker that demands it gets to see; without one it is not asked', async () => {
    using strict = joinAlone('strict', { plan: answersIn(1), features: ['payer_signature'] })
    const waiting = await pool.ask({ key })
    expect((await waiting.ended).refusal).toMatchObject({ code: 'no_worker' })
    await (await pool.ask({ key, order: orderOf() })).ended
    expect(strict.worker.had.map((run) => run.order.papers.order !== null)).toEqual([true])
  })

  test('that insists on a model file gets that one or none', async () => {
    using _ = joinAlone('ann', { plan: answersIn(1) })
    const other = orderOf({ digest: Buffer.alloc(32, 3) })
    const asked = await pool.ask({ key, order: other, digest: '03'.repeat(32) })
    expect((await asked.ended).refusal).toMatchObject({ code: 'no_worker' })
    const right = orderOf({ digest: Buffer.from(smallDigest, 'hex') })
    await (await pool.ask({ key, order: right, digest: smallDigest })).ended
  })
})

describe('a budget', () => {
  test('of ten requests is never overspent by two hundred at once, and no hold is left', async () => {
    using _ = joinAlone('ann', { slots: 16, plan: answersIn(2) })
    // Each may cost 36 prompt tokens at 100 and 2 at 400 = 4,400, and costs 1,100.
    const key = smallPayer('key-ten', { budgetTotal: 44_000n })
    const asked = await Promise.allSettled(
      Array.from({ length: 200 }, () => pool.ask({ key, maxTokens: 2, promptBytes: 20 })),
    )
    const clients = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    const refused = asked.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []))
    expect(clients.length).toBeGreaterThanOrEqual(10)
    expect(new Set(refused)).toEqual(new Set(['budget_exceeded']))
    const prices = await Promise.all(clients.map(async (client) => BigInt(viewOf(await whole(client)).price)))
    expect(prices.reduce((sum, price) => sum + price, 0n)).toBeLessThanOrEqual(44_000n)
    expect(await pool.ledger.holds()).toEqual([])
  })

  test('of credits is never overspent by orders that one payer signs for two pools of one database at once', async () => {
    await using other = await testDatabase()
    // each holds 4,400 and costs 1,100
    await using first = await SmallPool.open(other.database, { credits: 44_000n, alone: false })
    await using second = await SmallPool.open(other.database, { credits: 0n, alone: false })
    const pools = [first, second]
    for (const one of pools) one.workers.join('ann', { slots: 16, plan: answersIn(2) })
    const alice = identityFromSeed(Buffer.alloc(32, 9))
    const key = smallPayer('key-alice', { payerKey: alice.publicKey })
    const asking = { key: { ...key, payerSignature: 'required' as const }, maxTokens: 2, promptBytes: 20 }
    const asked = await Promise.allSettled(
      Array.from({ length: 200 }, (_, n) =>
        pools[n % 2]?.ask({ ...asking, order: signedOrder(alice, { seq: n + 1 }) }),
      ),
    )
    const refused = asked.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []))
    const clients = asked.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []))
    expect(new Set(refused)).toEqual(new Set(['insufficient_credit']))
    expect(clients.length).toBeGreaterThanOrEqual(10)
    const prices = await Promise.all(
      clients.map(async (client) => {
        await client.ended
        return BigInt(viewOf(await first.receipt(client)).price)
      }),
    )
    const spent = prices.reduce((sum, price) => sum + price, 0n)
    expect(spent).toBeLessThanOrEqual(44_000n)
    const { posted, held } = await second.ledger.balance(smallAccount)
    expect([posted, held]).toEqual([44_000n - spent, 0n])
    expect(await second.ledger.holds()).toEqual([])
  })

  test('says what is left and when it returns', async () => {
    using _ = joinAlone('ann', { plan: answersIn(2) })
    const key = smallPayer('key-tokens', { tokensPerMinute: 100, requestsPerMinute: 5 })
    const client = await pool.ask({ key, maxTokens: 2, promptBytes: 20 })
    expect(client.handle?.left).toMatchObject({ tokens: 62, requests: 4 })
    const asked = (maxTokens: number) => pool.ask({ key, maxTokens, promptBytes: 20 })
    // 36 + 60 is more than what is left, which waiting helps; 36 + 90 is more than a minute has
    await expect(asked(60)).rejects.toMatchObject({
      code: 'token_rate_exceeded',
      refusal: { retryAfterMs: expect.any(Number) },
    })
    const tooMuch = await asked(90).catch(({ refusal }) => refusal)
    expect(tooMuch).toMatchObject({ code: 'token_rate_exceeded', final: true })
    expect(tooMuch).not.toHaveProperty('retryAfterMs')
  })

  test('of an empty account, or of none, is refused with 402, which says what is left', async () => {
    using _ = joinAlone('ann', { plan: answersIn(2) })
    const poor = 'user:00000000-0000-7000-8000-000000000002'
    await pool.ledger.ensureAccounts([{ name: poor }])
    for (const account of [poor, 'user:00000000-0000-7000-8000-000000000003']) {
      const key = smallPayer('key-poor', { account, budgetTotal: 5_000_000n, requestsPerMinute: 3 })
      await expect(pool.ask({ key })).rejects.toMatchObject({
        code: 'insufficient_credit',
        status: 402,
        message: 'The account does not have what the request may cost: 0 credits are left.',
        left: { available: 0n, total: 5_000_000n, requests: 3 },
      })
    }
  })
})

test('a hold that nobody came back for expires', async () => {
  await using other = await testDatabase()
  await using first = await SmallPool.open(other.database, { audited: false })
  const id = systemRuntime.uuid()
  const hold = {
    op: 'hold',
    id,
    account: smallAccount,
    amount: 5n,
    expiresAt: systemRuntime.now() - 1,
    budget: null,
  } as const
  const op: LedgerOp = { ...hold, at: systemRuntime.now() - 60_000 }
  expect(await first.commit.submit([part(ledgerStage, op)])).toEqual({ applied: true })
  expect(await first.ledger.holds()).toMatchObject([{ id }])
  await using _second = await SmallPool.open(other.database, { audited: false })
  expect(await first.ledger.holds()).toEqual([])
  expect((await first.ledger.balance(smallAccount)).held).toBe(0n)
})

test('after a crash every hold is released once, and the receipts say that nothing is owed', async () => {
  await using other = await testDatabase()
  const first = await SmallPool.open(other.database)
  first.workers.join('ann', { plan: hangsAfter(1) })
  const clients = await Promise.all(Array.from({ length: 5 }, () => first.ask()))
  expect(await first.ledger.holds()).toHaveLength(5)
  await first.crash()
  await using second = await SmallPool.open(other.database)
  expect(await second.ledger.holds()).toEqual([])
  for (const client of clients) {
    const file = await second.receipt(client)
    expect(viewOf(file)).toMatchObject({ state: 'interrupted', price: '0' })
    expect(verifyReceipt(file, {})).toMatchObject({ ok: true })
  }
})
