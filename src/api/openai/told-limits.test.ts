import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LimitedPool } from '../../testkit/limited-pool.ts'
import { answersIn, diesAfter } from '../../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'

let db: TestDatabase
let pool: LimitedPool
beforeAll(async () => {
  db = await testDatabase()
  pool = await LimitedPool.open(db.database, 2)
  for (const { small, api } of pool.processes) {
    const worker = small.workers.join('ann', { slots: 16, plan: answersIn(2) })
    api.models.put(worker)
  }
})
afterAll(async () => {
  await pool[Symbol.asyncDispose]()
  await db.drop()
})

/** Status and what a response says of the key's requests. */
function saidOf({ status, headers }: Response) {
  const of = (name: string) => headers.get(name)
  return {
    status,
    left: of('x-ratelimit-remaining-requests'),
    reset: of('x-ratelimit-reset-requests'),
    retry: of('retry-after'),
    retryMs: of('retry-after-ms'),
  }
}

describe('a key that may send two requests a minute', () => {
  test('is told the same time by every process of the pool, and who waits exactly so long is served', async () => {
    pool.setKey('two', { requestsPerMinute: 2 })
    pool.clock.stopAt(18)
    expect(saidOf(await pool.ask('two', {}, 0))).toMatchObject({ status: 200, left: '1', reset: '42s' })
    expect(saidOf(await pool.ask('two', {}, 1))).toMatchObject({ status: 200, left: '0', reset: '42s' })
    // the first process has seen one of the two: the ledger refuses there, then the door
    const refused = { status: 429, left: '0', reset: '42s', retry: '42', retryMs: '42000' }
    for (const process of [0, 0, 1, 0]) expect(saidOf(await pool.ask('two', {}, process))).toEqual(refused)
    pool.clock.advance(15_000)
    for (const process of [0, 1]) {
      expect(saidOf(await pool.ask('two', {}, process))).toMatchObject({ status: 429, reset: '27s', retry: '27' })
    }
    pool.clock.advance(26_999)
    expect(saidOf(await pool.ask('two'))).toMatchObject({ status: 429, reset: '1ms', retry: '1', retryMs: '1' })
    pool.clock.advance(1)
    expect(saidOf(await pool.ask('two', {}, 1))).toMatchObject({ status: 200, left: '1', reset: '60s' })
    expect(saidOf(await pool.ask('two', {}, 1))).toMatchObject({ status: 200, left: '0' })
  })

  test('is served with a client that waits as it is told, without being refused twice', async () => {
    pool.setKey('waits', { requestsPerMinute: 2 })
    pool.clock.stopAt(59)
    const statuses: number[] = []
    const client = new OpenAI({
      baseURL: `${pool.processes[0]?.api.url}/v1`,
      apiKey: 'waits',
      maxRetries: 1,
      fetch: async (url, init) => {
        const response = await fetch(url, init)
        statuses.push(response.status)
        if (response.status === 429) pool.clock.letGo()
        return response
      },
    })
    const messages = [{ role: 'user' as const, content: 'tell me' }]
    for (let n = 0; n < 3; n++) await client.chat.completions.create({ model: 'moss', messages, max_tokens: 2 })
    expect(statuses).toEqual([200, 200, 429, 200])
  })

  test('has both whatever else was refused before, as often as it was', async () => {
    pool.setKey('poor', { requestsPerMinute: 2, budgetTotal: 0n })
    pool.clock.stopAt(10)
    for (let n = 0; n < 4; n++) expect(saidOf(await pool.ask('poor'))).toMatchObject({ status: 402, left: '2' })
    for (const wrong of [{ temperature: 9 }, { model: 'nobody' }, { max_tokens: 'x' }]) {
      expect(saidOf(await pool.ask('poor', wrong))).toMatchObject({ left: '2', retry: null })
    }
    pool.setKey('poor', { requestsPerMinute: 2, tokensPerMinute: 100 })
    expect(saidOf(await pool.ask('poor', { max_tokens: 99 }))).toMatchObject({ status: 429, left: '2' })
    pool.setKey('poor', { requestsPerMinute: 2 })
    expect(saidOf(await pool.ask('poor'))).toMatchObject({ status: 200, left: '1' })
    expect(saidOf(await pool.ask('poor'))).toMatchObject({ status: 200, left: '0' })
    expect(saidOf(await pool.ask('poor'))).toMatchObject({ status: 429, left: '0', retry: '50' })
  })

  test('has exactly two of two hundred at once, over both processes, and all others are told one time', async () => {
    pool.setKey('flood', { requestsPerMinute: 2 })
    pool.clock.stopAt(30)
    const all = await Promise.all(Array.from({ length: 200 }, (_, n) => pool.ask('flood', {}, n % 2)))
    const served = all.filter(({ status }) => status === 200)
    expect(served).toHaveLength(2)
    const others = all.filter(({ status }) => status !== 200).map((one) => JSON.stringify(saidOf(one)))
    expect([...new Set(others)]).toEqual([
      JSON.stringify({ status: 429, left: '0', reset: '30s', retry: '30', retryMs: '30000' }),
    ])
  })

  test('may send more as soon as its limit is raised', async () => {
    pool.setKey('raised', { requestsPerMinute: 1 })
    pool.clock.stopAt(0)
    await pool.ask('raised')
    expect(saidOf(await pool.ask('raised'))).toMatchObject({ status: 429, retry: '60' })
    pool.setKey('raised', { requestsPerMinute: 3 })
    expect(saidOf(await pool.ask('raised'))).toMatchObject({ status: 200, left: '1' })
    pool.setKey('raised', { requestsPerMinute: 2 })
    expect(saidOf(await pool.ask('raised'))).toMatchObject({ status: 429, left: '0', retry: '60' })
  })

  test('whose last one found no worker is not told to come back before its next minute', async () => {
    pool.setKey('lost', { requestsPerMinute: 1 })
    pool.clock.stopAt(15)
    const [first] = pool.processes
    const worker = first?.small.workers.join('bob', { offers: [{ name: 'fern' }], plan: diesAfter(0) })
    if (worker) first?.api.models.put(worker)
    const lost = await pool.ask('lost', { model: 'fern' })
    expect(saidOf(lost)).toMatchObject({ status: 503, left: '0', retry: '45' })
    expect(saidOf(await pool.ask('lost'))).toMatchObject({ status: 429, retry: '45' })
  })
})

test('nothing stays reserved', async () => {
  const [first] = pool.processes
  await expect.poll(async () => first?.small.ledger.holds()).toEqual([])
  expect(await first?.small.ledger.audit()).toMatchObject({ ok: true })
})
