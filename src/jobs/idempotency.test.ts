import { afterAll, beforeAll, expect, test } from 'vitest'
import { SmallPool } from '../testkit/small-pool.ts'
import { answersIn, hangsAfter, type SmallClient } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import type { IdempotencyClaim, IdempotentRequest } from './idempotency.ts'
import { jobsLimits } from './limits.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

let serial = 0
const request = (more: Partial<IdempotentRequest> = {}): IdempotentRequest => ({
  keyId: 'key-alice',
  key: `repeat-${serial}`,
  route: 'POST /v1/chat/completions',
  body: Buffer.from('{"model":"moss"}'),
  stream: false,
  ...more,
})

/** A claim that must be new. */
async function claim(pool: SmallPool, more?: Partial<IdempotentRequest>): Promise<IdempotencyClaim> {
  const found = await pool.jobs.idempotent(request(more))
  if (found.state !== 'new') throw new Error(`the key is not new: ${JSON.stringify(found)}`)
  return found.claim
}

async function answered(pool: SmallPool, more?: Partial<IdempotentRequest>): Promise<SmallClient> {
  const mine = await claim(pool, more)
  const client = await pool.ask({ idempotency: mine })
  await client.ended
  await pool.record(client)
  mine.finish({ jobId: client.handle?.id ?? '', status: 200, headers: ['x-told', 'again'], body: '{"answer":42}' })
  return client
}

const openPool = async () => {
  serial++
  const pool = await SmallPool.open(home.database)
  return { pool, worker: pool.workers.join('ann', { plan: answersIn(2) }) }
}

test('a repeated request gets the first answer, and nothing is computed again', async () => {
  const { pool, worker } = await openPool()
  await using _ = pool
  const client = await answered(pool)
  expect(await pool.jobs.idempotent(request())).toMatchObject({
    state: 'replay',
    replay: { jobId: client.handle?.id, status: 200, headers: ['x-told', 'again'], body: '{"answer":42}' },
  })
  expect(worker.had).toHaveLength(1)
})

test('a duplicate that comes while the first is being answered waits for its answer', async () => {
  const { pool } = await openPool()
  await using _ = pool
  const mine = await claim(pool)
  const duplicates = [pool.jobs.idempotent(request()), pool.jobs.idempotent(request())]
  await expect.poll(() => mine.wanted).toBe(true)
  mine.finish({ jobId: 'job', status: 200, headers: ['x-told', 'again'], body: '{}' })
  expect((await Promise.all(duplicates)).map((found) => found.state)).toEqual(['replay', 'replay'])
})

test('when the first fails, exactly one of those that wait may try', async () => {
  const { pool } = await openPool()
  await using _ = pool
  const mine = await claim(pool)
  const duplicates = [pool.jobs.idempotent(request()), pool.jobs.idempotent(request())]
  await expect.poll(() => mine.wanted).toBe(true)
  mine.abandon()
  const first = await Promise.race(duplicates)
  if (first.state === 'new') first.claim.finish({ jobId: 'job', status: 200, headers: ['x-told', 'again'], body: '{}' })
  expect((await Promise.all(duplicates)).map((found) => found.state).sort()).toEqual(['new', 'replay'])
})

test('a duplicate of a running stream is told to wait', async () => {
  const { pool } = await openPool()
  await using _ = pool
  await claim(pool, { stream: true })
  expect(await pool.jobs.idempotent(request({ stream: true }))).toMatchObject({
    refusal: { code: 'idempotency_in_progress' },
  })
})

test('the same key with other bytes, or on another route, is refused', async () => {
  const { pool } = await openPool()
  await using _ = pool
  await answered(pool)
  for (const other of [{ body: Buffer.from('{"model":"fern"}') }, { route: 'POST /v1/completions' }]) {
    expect(await pool.jobs.idempotent(request(other))).toMatchObject({ refusal: { code: 'idempotency_mismatch' } })
  }
})

test('the same key of another API key is another key', async () => {
  const { pool } = await openPool()
  await using _ = pool
  await answered(pool)
  await claim(pool, { keyId: 'key-bob' })
})

test('after a restart the body is gone, and the refusal names the job', async () => {
  const { pool } = await openPool()
  const client = await answered(pool)
  await pool[Symbol.asyncDispose]()
  await using after = await SmallPool.open(home.database)
  const found = await after.jobs.idempotent(request())
  expect(found).toMatchObject({ refusal: { code: 'idempotency_body_gone' } })
  expect(JSON.stringify(found)).toContain(client.handle?.id)
  expect(await after.jobs.idempotent(request({ body: Buffer.from('{}') }))).toMatchObject({
    refusal: { code: 'idempotency_mismatch' },
  })
})

test('a job that failed leaves its key free', async () => {
  const { pool, worker } = await openPool()
  await using _ = pool
  worker.plan = (run) => run.fail({ code: 'context_length_exceeded' }, false)
  const mine = await claim(pool)
  const client = await pool.ask({ idempotency: mine })
  await client.ended
  await pool.record(client)
  mine.abandon()
  worker.plan = answersIn(1)
  await answered(pool)
})

test('two pools on one database do not compute the same key twice', async () => {
  const { pool, worker } = await openPool()
  await using _ = pool
  await using other = await SmallPool.open(home.database, { alone: false })
  other.workers.join('bob')
  worker.plan = hangsAfter(1)
  const [mine, theirs] = [await claim(pool), await claim(other)]
  const client = await pool.ask({ idempotency: mine })
  await expect(other.ask({ idempotency: theirs })).rejects.toMatchObject({ code: 'idempotency_in_progress' })
  theirs.abandon()
  expect(await other.jobs.idempotent(request())).toMatchObject({ refusal: { code: 'idempotency_in_progress' } })
  client.handle?.cancel()
})

test('bodies are kept within their memory, the oldest go first', async () => {
  const { pool } = await openPool()
  await using _ = pool
  const body = 'x'.repeat(jobsLimits.replayBytesMax / 4)
  for (let i = 0; i < 6; i++)
    (await claim(pool, { key: `${serial}-${i}` })).finish({
      jobId: 'job',
      status: 200,
      headers: ['x-told', 'again'],
      body,
    })
  const states = await Promise.all(
    [0, 1, 2, 3, 4, 5].map(async (i) => (await pool.jobs.idempotent(request({ key: `${serial}-${i}` }))).state),
  )
  expect(states).toEqual(['new', 'new', 'new', 'replay', 'replay', 'replay'])
})

test('neither key nor body is in the database', async () => {
  const { pool } = await openPool()
  await using _ = pool
  await answered(pool, { key: 'canary-key', body: Buffer.from('canary-body') })
  const [row] = await home.sql<{ all: string }[]>`
    select string_agg(i::text || j::text, '') as all from idempotency i join jobs j on j.id = i.job_id`
  expect(row?.all).not.toContain('canary')
  expect(row?.all).not.toContain(Buffer.from('canary').toString('hex'))
})
