import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { SmallPool, type SmallPoolOptions } from '../testkit/small-pool.ts'
import { afterWords, answersIn, hangsAfter, smallAnswer, smallDigest } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

const openPool = (options?: SmallPoolOptions) => SmallPool.open(home.database, options)
const answer = (tokens: number) => smallAnswer(tokens).join('')

test('a request is answered by a worker, counted and settled', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: answersIn(5) })
  const client = await pool.ask()
  const reply = await client.ended
  expect(reply).toMatchObject({
    texts: [answer(5)],
    finishes: ['stop'],
    usage: { promptTokens: 3, completionTokens: 5 },
    refusal: undefined,
  })
  expect(await pool.record(client)).toMatchObject({
    state: 'completed',
    keyId: 'key-alice',
    model: 'moss',
    digest: smallDigest,
    promptTokens: 3,
    completionTokens: 5,
    code: null,
    segments: [{ workerId: worker.id, outcome: 'ended', pieces: 5, completionClaim: 5, finish: 'stop', fault: null }],
  })
})

test('the worker hears of the job only after its row is on disk', async () => {
  await using pool = await openPool()
  let onDisk: unknown
  pool.workers.join('ann', {
    plan: async (run) => {
      ;[onDisk] = await home.sql`select state from jobs where id = ${client.handle?.id ?? ''}`
      await run.answer(1)
      run.end()
    },
  })
  const client = await pool.ask()
  await client.ended
  expect(onDisk).toBeDefined()
})

test('while an answer streams, the record says so and who has the lease', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: hangsAfter(3) })
  const client = await pool.ask()
  await afterWords(client, 3)
  await expect
    .poll(async () => pool.jobs.show(client.handle?.id ?? ''))
    .toMatchObject({ state: 'streaming', endedAt: null, segments: [{ workerId: worker.id, outcome: 'running' }] })
  client.handle?.cancel()
})

test('a model that was never offered is not found; one whose workers left is waited for', async () => {
  await using pool = await openPool()
  await expect(pool.ask({ model: 'unheard-of' })).rejects.toMatchObject({ code: 'model_not_found', status: 404 })
  const worker = pool.workers.join('ann')
  worker.die()
  const unlucky = await pool.ask()
  expect((await unlucky.ended).refusal).toMatchObject({ code: 'no_worker', retryAfterMs: expect.any(Number) })
  const lucky = await pool.ask()
  pool.workers.join('ann', { plan: answersIn(3) })
  expect((await lucky.ended).texts).toEqual([answer(3)])
})

test('a file that nobody lends is named to who pinned it, also while another file of that name is here', async () => {
  await using pool = await openPool()
  pool.workers.join('ann')
  const digest = 'e2'.repeat(32)
  const { refusal } = await (await pool.ask({ digest })).ended
  expect(refusal).toMatchObject({ code: 'no_worker', message: expect.stringContaining(digest) })
  expect(refusal?.fix).toContain('GET /v1/models')
})

test('a model is known after a restart although nobody offers it yet', async () => {
  {
    await using before = await openPool()
    before.workers.join('ann', { offers: [{ name: 'known-before' }] })
  }
  await using after = await openPool()
  const client = await after.ask({ model: 'known-before' })
  expect((await client.ended).refusal?.code).toBe('no_worker')
})

test('what no worker of the model can do is refused before it becomes a job', async () => {
  await using pool = await openPool()
  pool.workers.join('ann')
  await expect(pool.ask({ needs: ['chat', 'vision'] })).rejects.toMatchObject({ code: 'unsupported_parameter' })
})

test('the same seed gives the same sampler seed, no seed a different one each time', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: answersIn(1) })
  for (const seed of [7, 7, 8, -1n, undefined, undefined]) await (await pool.ask({ seed })).ended
  const seeds = worker.had.map((run) => run.order.seed)
  expect(seeds[0]).toBe(seeds[1])
  expect(new Set(seeds).size).toBe(5)
})

test('a pool that is told to stop lets its answers end and takes nothing new', async () => {
  const pool = await openPool()
  pool.workers.join('ann', { plan: answersIn(20) })
  const client = await pool.ask()
  const stopped = pool.jobs.close(10_000)
  await expect(pool.ask()).rejects.toMatchObject({ code: 'shutting_down' })
  await stopped
  expect((await client.ended).texts).toEqual([answer(20)])
  expect(await pool.record(client)).toMatchObject({ state: 'completed' })
  await pool.commit.stop()
})

test('a pool that is told a second time to stop waits no longer', async () => {
  const pool = await openPool()
  pool.workers.join('ann', { plan: hangsAfter(2) })
  const client = await pool.ask()
  await afterWords(client, 2)
  const stopped = pool.jobs.close(600_000)
  await systemRuntime.sleep(50)
  await Promise.all([stopped, pool.jobs.close()])
  expect((await client.ended).refusal?.code).toBe('shutting_down')
  await pool.commit.stop()
})

test('a pool that must stop now interrupts its jobs and says so', async () => {
  const pool = await openPool()
  pool.workers.join('ann', { plan: hangsAfter(2) })
  const client = await pool.ask()
  await afterWords(client, 2)
  await pool.jobs.close(0)
  expect((await client.ended).refusal?.code).toBe('shutting_down')
  expect(await pool.record(client)).toMatchObject({ state: 'interrupted', code: 'shutting_down' })
  await pool.commit.stop()
})
