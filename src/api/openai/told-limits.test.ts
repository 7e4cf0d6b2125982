import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LimitedPool } from '../../testkit/limited-pool.ts'
import { answersIn, diesAfter, type Plan } from '../../testkit/small-workers.ts'
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

describe('a key with a budget', () => {
  // a request reserves 28 prompt tokens at 100 and 2 at 400 micro-credits, and costs 3 and 2
  const cap = 3_600n
  const gate = { open: Promise.resolve() }
  beforeAll(() => {
    const [first] = pool.processes
    const plan: Plan = async (run) => {
      await gate.open
      await answersIn(2)(run)
    }
    const worker = first?.small.workers.join('eve', { slots: 16, offers: [{ name: 'gated' }], plan })
    if (worker) first?.api.models.put(worker)
  })

  /** Requests that run until what is returned is called. */
  function runningWith(key: string, count: number) {
    const { promise, resolve } = Promise.withResolvers<void>()
    gate.open = promise
    const answers = Array.from({ length: count }, () => pool.ask(key, { model: 'gated' }))
    return async () => {
      resolve()
      const all = await Promise.all(answers)
      await settled()
      return all.map(({ status }) => status)
    }
  }

  const holds = () => pool.processes[0]?.small.ledger.holds()
  const settled = () => expect.poll(holds).toEqual([])
  const running = (count: number) => expect.poll(async () => (await holds())?.length).toBe(count)

  /** What a response says of credits and tokens. */
  async function toldBy(asked: Promise<Response>) {
    const response = await asked
    const of = (name: string) => response.headers.get(name)
    const { error } = (await response.json()) as { error?: { code: string; message: string } }
    await settled()
    return {
      status: response.status,
      total: of('x-lichen-budget-remaining'),
      day: of('x-lichen-budget-remaining-today'),
      dayReset: of('x-lichen-budget-reset-today'),
      tokens: of('x-ratelimit-remaining-tokens'),
      tokensReset: of('x-ratelimit-reset-tokens'),
      retry: of('retry-after'),
      again: of('x-should-retry'),
      said: error?.message,
      code: error?.code,
    }
  }

  test('in all is told what is left, to the last micro-credit, and never to come back later', async () => {
    const never = { retry: null, status: 402, code: 'budget_exceeded' }
    pool.setKey('total', { budgetTotal: 0n })
    const nothing = { ...never, total: '0', said: expect.stringContaining(': 0 credits are left') }
    expect(await toldBy(pool.ask('total'))).toMatchObject(nothing)
    pool.setKey('total', { budgetTotal: cap - 1n })
    expect(await toldBy(pool.ask('total'))).toMatchObject({ ...never, total: '0.003599' })
    pool.setKey('total', { budgetTotal: cap })
    expect(await toldBy(pool.ask('total'))).toMatchObject({ status: 200, total: '0' })
    const left = { ...never, total: '0.0025', said: expect.stringContaining(': 0.0025 credits are left') }
    expect(await toldBy(pool.ask('total'))).toMatchObject(left)
    // spent is 0.0011: exactly that, and less
    for (const budgetTotal of [1_100n, 1n]) {
      pool.setKey('total', { budgetTotal })
      expect(await toldBy(pool.ask('total'))).toMatchObject(nothing)
    }
  })

  test('that is changed while requests run has what the new one leaves', async () => {
    pool.setKey('changed', { budgetTotal: 10n * cap })
    const finish = runningWith('changed', 2)
    await running(2)
    const refused = async () => {
      const { status, headers } = await pool.ask('changed')
      return [status, headers.get('x-lichen-budget-remaining')]
    }
    pool.setKey('changed', { budgetTotal: 3n * cap - 1n })
    expect(await refused()).toEqual([402, '0.003599'])
    pool.setKey('changed', { budgetTotal: cap })
    expect(await refused()).toEqual([402, '0'])
    expect(await finish()).toEqual([200, 200])
    // both have cost 0.0011
    expect(await toldBy(pool.ask('changed'))).toMatchObject({ status: 402, total: '0.0014' })
    pool.setKey('changed', { budgetTotal: cap + 2_200n })
    expect(await toldBy(pool.ask('changed'))).toMatchObject({ status: 200, total: '0' })
  })

  test('for a day is told when the next begins, and is served then; what no day has is not to be asked again', async () => {
    pool.setKey('day', { budgetPerDay: cap })
    pool.clock.stopAt(0)
    pool.clock.advance(86_400_000 - (pool.clock.runtime.now() % 86_400_000) + 86_000_000)
    expect(await toldBy(pool.ask('day'))).toMatchObject({ status: 200, day: '0', dayReset: '400s' })
    const tomorrow = { status: 402, code: 'budget_exceeded', day: '0.0025', dayReset: '400s', retry: '400' }
    expect(await toldBy(pool.ask('day'))).toMatchObject(tomorrow)
    const tooMuch = { status: 402, code: 'budget_exceeded', retry: null, again: 'false' }
    expect(await toldBy(pool.ask('day', { max_tokens: 3 }))).toMatchObject({
      ...tooMuch,
      said: expect.stringMatching(/may cost 0\.004 credits, and the key spend no more than 0\.0036 on one UTC day/),
    })
    pool.clock.advance(400_000)
    expect(await toldBy(pool.ask('day'))).toMatchObject({ status: 200, day: '0', dayReset: '86400s' })
    pool.setKey('day', { budgetPerDay: 0n })
    expect(await toldBy(pool.ask('day'))).toMatchObject({ ...tooMuch, day: '0' })
  })

  test('of tokens a minute counts what running requests may use, and gives it back; what no minute has is not to be asked again', async () => {
    pool.setKey('tokens', { tokensPerMinute: 60 })
    pool.clock.stopAt(20)
    const finish = runningWith('tokens', 2)
    await running(2)
    const full = await pool.ask('tokens')
    expect(full.status).toBe(429)
    expect(full.headers.get('x-ratelimit-remaining-tokens')).toBe('0')
    expect(full.headers.get('x-ratelimit-reset-tokens')).toBe('40s')
    expect(full.headers.get('retry-after')).toBe('40')
    expect(await finish()).toEqual([200, 200])
    // each has used 5
    expect(await toldBy(pool.ask('tokens'))).toMatchObject({ status: 200, tokens: '20', tokensReset: '40s' })
    const wish = { max_tokens: 32 }
    const late = {
      status: 429,
      code: 'token_rate_exceeded',
      tokens: '45',
      tokensReset: '40s',
      retry: '40',
      again: null,
    }
    expect(await toldBy(pool.ask('tokens', wish))).toMatchObject(late)
    expect(await toldBy(pool.ask('tokens', { max_tokens: 33 }))).toMatchObject({
      status: 429,
      code: 'token_rate_exceeded',
      retry: null,
      again: 'false',
      said: expect.stringContaining('may use 61 tokens, and the key no more than 60 in a minute'),
    })
    pool.clock.advance(40_000)
    expect(await toldBy(pool.ask('tokens', wish))).toMatchObject({ status: 200, tokens: '0', tokensReset: '60s' })
  })
})

test('nothing stays reserved', async () => {
  const [first] = pool.processes
  await expect.poll(async () => first?.small.ledger.holds()).toEqual([])
  expect(await first?.small.ledger.audit()).toMatchObject({ ok: true })
})
