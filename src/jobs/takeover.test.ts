import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { SmallPool, type SmallPoolOptions } from '../testkit/small-pool.ts'
import { afterWords, answersIn, diesAfter, smallAnswer, smallDigest } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

const openPool = (options?: SmallPoolOptions) => SmallPool.open(home.database, options)
const answer = (tokens: number) => smallAnswer(tokens).join('')

test('a worker that dies before its first token is replaced, and the client notices nothing', async () => {
  await using pool = await openPool()
  const first = pool.workers.join('ann', { plan: diesAfter(0) })
  const client = await pool.ask()
  const second = pool.workers.join('bob', { plan: answersIn(4) })
  expect(await client.ended).toMatchObject({ texts: [answer(4)], finishes: ['stop'], refusal: undefined })
  const { segments, completionTokens } = await pool.record(client)
  expect(segments).toMatchObject([
    { workerId: first.id, outcome: 'lost', pieces: 0 },
    { workerId: second.id, outcome: 'ended', pieces: 4 },
  ])
  expect(completionTokens).toBe(4)
  expect(pool.eventsNamed('runMoved')).toMatchObject([{ how: 'retry', workerId: first.id }])
})

test('a run that failed goes to another worker, never back to the same one', async () => {
  await using pool = await openPool()
  const broken = pool.workers.join('ann', { plan: (run) => run.fail() })
  const well = pool.workers.join('bob', { plan: answersIn(2) })
  const clients = await Promise.all(Array.from({ length: 8 }, () => pool.ask()))
  const replies = await Promise.all(clients.map((client) => client.ended))
  expect(replies.map((reply) => reply.texts[0])).toEqual(clients.map(() => answer(2)))
  expect(well.had).toHaveLength(8)
  for (const client of clients) {
    const { segments } = await pool.record(client)
    expect(segments.filter((segment) => segment.workerId === broken.id).length).toBeLessThanOrEqual(1)
  }
})

test('a broken worker that is idle does not swallow the next requests', async () => {
  await using pool = await openPool()
  const broken = pool.workers.join('ann', { slots: 16, plan: (run) => run.fail() })
  pool.workers.join('bob', { slots: 16, plan: answersIn(1) })
  for (let i = 0; i < 20; i++) await (await pool.ask()).ended
  expect(broken.had.length).toBeLessThanOrEqual(8)
})

test('a request that four workers failed is given up with what the last one said', async () => {
  await using pool = await openPool()
  const workers = ['a', 'b', 'c', 'd', 'e'].map((name) => pool.workers.join(name, { plan: (run) => run.fail() }))
  const client = await pool.ask()
  expect((await client.ended).refusal).toMatchObject({ code: 'upstream_error' })
  expect(workers.flatMap((worker) => worker.had)).toHaveLength(4)
  expect(await pool.record(client)).toMatchObject({ state: 'failed', code: 'upstream_error' })
})

test('a refusal that is the request’s own fault is told at once', async () => {
  await using pool = await openPool()
  const first = pool.workers.join('ann', { plan: (run) => run.fail({ code: 'context_length_exceeded' }, false) })
  const second = pool.workers.join('bob', { plan: (run) => run.fail({ code: 'context_length_exceeded' }, false) })
  const client = await pool.ask()
  expect((await client.ended).refusal).toMatchObject({ code: 'context_length_exceeded' })
  expect(first.had.length + second.had.length).toBe(1)
})

test('in mid-stream another worker continues from the token ids so far', async () => {
  await using pool = await openPool()
  const first = pool.workers.join('ann', { plan: diesAfter(5) })
  const client = await pool.ask()
  const second = pool.workers.join('bob', { plan: answersIn(12) })
  expect(await client.ended).toMatchObject({ texts: [answer(12)], finishes: ['stop'], refusal: undefined })
  expect(second.had[0]?.order).toMatchObject({ resume: [0, 1, 2, 3, 4], digest: smallDigest, maxTokens: 100 })
  expect(second.had[0]?.order.seed).toBe(first.had[0]?.order.seed)
  const record = await pool.record(client)
  expect(record).toMatchObject({
    state: 'completed',
    completionTokens: 12,
    segments: [
      { workerId: first.id, outcome: 'lost', pieces: 5, completionClaim: null },
      { workerId: second.id, outcome: 'ended', pieces: 7, completionClaim: 7 },
    ],
  })
})

test('a takeover finds the same model file under another name', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', { plan: diesAfter(3) })
  const client = await pool.ask()
  const second = pool.workers.join('bob', { plan: answersIn(6), offers: [{ name: 'moss-copy' }] })
  expect((await client.ended).texts).toEqual([answer(6)])
  expect(second.had[0]?.order.model).toBe('moss-copy')
})

test('three workers in a row may die; the fourth finishes, and max_tokens holds over all of them', async () => {
  await using pool = await openPool()
  const client = await pool.ask({ maxTokens: 8 })
  for (const [name, tokens] of [
    ['a', 2],
    ['b', 4],
    ['c', 6],
  ] as const) {
    pool.workers.join(name, { plan: diesAfter(tokens) })
  }
  const last = pool.workers.join('d', { plan: answersIn(50) })
  const reply = await client.ended
  expect(reply.texts).toEqual([answer(8)])
  expect(reply.usage?.completionTokens).toBe(8)
  expect(last.had.length).toBeLessThanOrEqual(1)
})

test('another model file never continues an answer', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', { plan: diesAfter(5) })
  const client = await pool.ask()
  const other = pool.workers.join('bob', { offers: [{ digest: 'e2'.repeat(32) }] })
  const { texts, refusal } = await client.ended
  expect([texts[0], refusal?.code, other.had.length]).toEqual([answer(5), 'worker_lost', 0])
  expect(await pool.record(client)).toMatchObject({ state: 'failed', code: 'worker_lost', completionTokens: 5 })
})

test.each([
  ['its model has no file', { offers: [{ digest: null }] }, {}],
  ['a grammar rolls its own dice', {}, { resumable: false }],
])('an answer is not continued when %s', async (_why, offer, request) => {
  await using pool = await openPool()
  pool.workers.join('ann', { plan: diesAfter(2), ...offer })
  const client = await pool.ask(request)
  const other = pool.workers.join('bob', offer)
  expect((await client.ended).refusal?.code).toBe('worker_lost')
  expect(other.had).toHaveLength(0)
})

test('an answer whose worker died waits a little for one that can continue', async () => {
  await using pool = await openPool({ settings: { takeoverGraceMs: 10_000 } })
  pool.workers.join('ann', { plan: diesAfter(5) })
  const client = await pool.ask()
  await afterWords(client, 5)
  await systemRuntime.sleep(300)
  pool.workers.join('bob', { plan: answersIn(7) })
  expect((await client.ended).texts).toEqual([answer(7)])
})

test('a worker that dies after its last token but before it said so has answered in full', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', { plan: diesAfter(6) })
  const client = await pool.ask({ maxTokens: 6 })
  expect(await client.ended).toMatchObject({ texts: [answer(6)], finishes: ['length'], refusal: undefined })
})
