import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { SmallPool, type SmallPoolOptions } from '../testkit/small-pool.ts'
import {
  afterWords,
  answersIn,
  hangsAfter,
  type SmallClient,
  smallAnswer,
  smallDigest,
  smallPayer,
} from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

const openPool = (options?: SmallPoolOptions) => SmallPool.open(home.database, options)
const answer = (tokens: number) => smallAnswer(tokens).join('')

test('a client that leaves the queue leaves room', async () => {
  await using pool = await openPool({ settings: { queuedRunsMax: 1 } })
  const worker = pool.workers.join('ann', { slots: 1, plan: hangsAfter(1) })
  const running = await pool.ask()
  await afterWords(running, 1)
  const waiting = await pool.ask()
  await expect(pool.ask()).rejects.toMatchObject({ code: 'queue_full' })
  waiting.handle?.cancel()
  const next = await pool.ask()
  worker.plan = answersIn(2)
  running.handle?.cancel()
  expect((await next.ended).texts).toEqual([answer(2)])
  expect(await pool.record(waiting)).toMatchObject({ state: 'cancelled', segments: [], completionTokens: 0 })
})

test('a full queue says when to come back', async () => {
  await using pool = await openPool({ settings: { queuedRunsMax: 3, queuedRunsPerKeyMax: 2 } })
  pool.workers.join('ann', { slots: 1, plan: hangsAfter(1) })
  const clients = [await pool.ask()]
  await afterWords(clients[0] as SmallClient, 1)
  for (let i = 0; i < 2; i++) clients.push(await pool.ask())
  const refusals = [pool.ask(), pool.ask({ key: smallPayer('key-bob'), choices: 2 })]
  for (const asked of refusals) {
    await expect(asked).rejects.toMatchObject({
      code: 'queue_full',
      status: 429,
      refusal: { retryAfterMs: expect.any(Number) },
    })
  }
  for (const client of clients) client.handle?.cancel()
})

test('a request that finds no free worker in time is refused with 503', async () => {
  await using pool = await openPool({ settings: { queueWaitMs: 200 } })
  pool.workers.join('ann', { slots: 1, plan: hangsAfter(1) })
  const first = await pool.ask()
  await afterWords(first, 1)
  const second = await pool.ask()
  const { refusal } = await second.ended
  expect(refusal).toMatchObject({ code: 'overloaded', retryAfterMs: expect.any(Number) })
  expect(await pool.record(second)).toMatchObject({ state: 'failed', code: 'overloaded' })
  first.handle?.cancel()
})

test('a key that floods the pool does not keep another waiting', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { slots: 1, plan: hangsAfter(1) })
  const first = await pool.ask()
  await afterWords(first, 1)
  const flood = await Promise.all(Array.from({ length: 50 }, () => pool.ask()))
  const alone = await pool.ask({ key: smallPayer('key-bob') })
  await systemRuntime.sleep(50)
  worker.plan = answersIn(1)
  first.handle?.cancel()
  await alone.ended
  const served = worker.had.length - 1
  expect(served).toBeLessThanOrEqual(4)
  await Promise.all(flood.map((client) => client.ended))
})

test('a pinned model file is served by exactly that file', async () => {
  await using pool = await openPool()
  const other = pool.workers.join('ann', { offers: [{ digest: 'e2'.repeat(32) }], slots: 64 })
  const right = pool.workers.join('bob', { plan: answersIn(1) })
  for (let i = 0; i < 5; i++) await (await pool.ask({ digest: smallDigest })).ended
  expect([other.had.length, right.had.length]).toEqual([0, 5])
})

test('three choices are three runs on one model file, and the prompt counts once', async () => {
  await using pool = await openPool()
  const mixed = ['a', 'b', 'c', 'd'].map((name, n) =>
    pool.workers.join(name, {
      slots: 1,
      plan: answersIn(n + 2),
      offers: [{ digest: n % 2 === 0 ? smallDigest : 'e2'.repeat(32) }],
    }),
  )
  const client = await pool.ask({ choices: 3 })
  const reply = await client.ended
  const runs = mixed.flatMap((worker) => worker.had)
  expect(runs.map((run) => run.order.choice).sort()).toEqual([0, 1, 2])
  expect(new Set(runs.map((run) => run.order.digest)).size).toBe(1)
  expect(new Set(runs.map((run) => run.order.seed)).size).toBe(1)
  expect(reply.finishes).toEqual(['stop', 'stop', 'stop'])
  expect(reply.usage?.promptTokens).toBe(3)
  expect((await pool.record(client)).segments.map((segment) => segment.choice)).toEqual([0, 1, 2])
})

test('one of three choices that cannot be finished fails the job and stops the others', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', {
    plan: (run) => (run.order.choice === 1 ? run.fail({ code: 'invalid_schema' }, false) : hangsAfter(1)(run)),
  })
  const client = await pool.ask({ choices: 3 })
  expect((await client.ended).refusal?.code).toBe('invalid_schema')
  expect(worker.runs.size).toBe(0)
})

test('a conversation goes back to the worker that holds its beginning', async () => {
  await using pool = await openPool()
  const workers = ['a', 'b', 'c', 'd'].map((name) => pool.workers.join(name, { plan: answersIn(1) }))
  const first = ['user: hello']
  await (await pool.ask({ prefix: first })).ended
  const home = workers.find((worker) => worker.had.length === 1)
  for (let i = 0; i < 6; i++) await (await pool.ask({ prefix: [...first, 'assistant: hi', `user: ${i}`] })).ended
  expect(home?.had).toHaveLength(7)
})

test('a draining worker finishes what it has and gets nothing new', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: hangsAfter(1) })
  const running = await pool.ask()
  await afterWords(running, 1)
  worker.draining = true
  pool.jobs.workerAvailable(worker)
  const refused = await pool.ask()
  expect((await refused.ended).refusal?.code).toBe('no_worker')
  expect(worker.runs.size).toBe(1)
  running.handle?.cancel()
})

test('a worker that is busy against our books is asked again, not given up', async () => {
  await using pool = await openPool()
  let refused = 0
  const worker = pool.workers.join('ann', {
    plan: (run) => {
      if (refused++ < 3) run.fail({ code: 'overloaded' })
      else return answersIn(2)(run)
    },
  })
  const client = await pool.ask()
  expect((await client.ended).texts).toEqual([answer(2)])
  expect((await pool.record(client)).segments.at(-1)).toMatchObject({ workerId: worker.id, outcome: 'ended' })
})
