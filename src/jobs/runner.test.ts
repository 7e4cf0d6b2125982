import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Token } from '#protocol'
import { SmallPool, type SmallPoolOptions } from '../testkit/small-pool.ts'
import { afterWords, answersIn, hangsAfter, type SmallRun, smallAnswer } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

const openPool = (options?: SmallPoolOptions) => SmallPool.open(home.database, options)
const answer = (tokens: number) => smallAnswer(tokens).join('')

test('the pool cuts at the stop string itself, and cuts off a worker that goes on', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: hangsAfter(50) })
  const client = await pool.ask({ stops: ['w3'] })
  expect(await client.ended).toMatchObject({ texts: ['w0 w1 w2 '], finishes: ['stop'] })
  expect(worker.had[0]?.cancelled).toBe(true)
})

test('a client that leaves stops its worker at once and is counted what it got', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: hangsAfter(4) })
  const client = await pool.ask()
  await afterWords(client, 4)
  client.handle?.cancel()
  expect([worker.had[0]?.cancelled, worker.runs.size]).toEqual([true, 0])
  expect(await pool.record(client)).toMatchObject({
    state: 'cancelled',
    completionTokens: 4,
    segments: [{ outcome: 'cancelled', pieces: 4 }],
  })
})

test('a job that is not finished in its time expires', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: hangsAfter(2) })
  const client = await pool.ask({ deadlineMs: 1_500 })
  const { texts, refusal } = await client.ended
  expect([texts[0], refusal?.code]).toEqual([answer(2), 'deadline_exceeded'])
  expect(worker.had[0]?.order.deadlineMs).toBeLessThanOrEqual(1_500)
  expect(worker.had[0]?.cancelled).toBe(true)
  expect(await pool.record(client)).toMatchObject({ state: 'expired', code: 'deadline_exceeded' })
})

test('a worker that claims more than it sent is paid for what it sent, and the claim is on record', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', {
    plan: async (run) => {
      await run.answer(3)
      run.end('stop', { promptTokens: 1_000_000, completionTokens: 900 })
    },
  })
  const client = await pool.ask()
  expect((await client.ended).usage).toEqual({ promptTokens: 0, completionTokens: 3 })
  expect((await pool.record(client)).segments).toMatchObject([
    { fault: 'over_claim', promptClaim: 1_000_000, completionClaim: 900, pieces: 3 },
  ])
  expect(pool.eventsNamed('workerFault')).toMatchObject([{ fault: 'over_claim' }])
})

test('how each run ended is told once for its worker: failing, lost, or well', async () => {
  await using pool = await openPool()
  let tries = 0
  const lend = {
    plan: async (run: SmallRun) => {
      tries++
      if (tries === 1) run.fail({ code: 'upstream_error' })
      else if (tries === 2) run.lost('its connection closed')
      else {
        await run.answer(3)
        run.end()
      }
    },
  }
  for (const name of ['ann', 'bea', 'cid']) pool.workers.join(name, lend)
  await (await pool.ask()).ended
  expect(pool.eventsNamed('runEnded').map(({ how }) => how)).toEqual(['error', 'lost', 'success'])
})

test('a run that was refused without anybody’s fault is tried elsewhere and counts against nobody', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', { plan: (run) => run.fail({}, true, true) })
  const client = await pool.ask()
  expect((await client.ended).refusal?.code).toBe('upstream_error')
  expect(pool.eventsNamed('runEnded')).toEqual([])
  expect((await pool.record(client)).segments).toMatchObject([{ outcome: 'failed' }])
})

test('where nobody who could begin is to be waited for, a job is refused at once and told why', async () => {
  const away = { code: 'model_away' as const, message: 'Bert is away.', fix: 'Later.' }
  let isAway = false
  await using pool = await openPool({
    settings: { takeoverGraceMs: 600_000 },
    whyAway: () => (isAway ? away : undefined),
  })
  pool.workers.join('ann', {
    plan: (run) => {
      isAway = true
      run.lost('its connection closed')
    },
  })
  const client = await pool.ask({ forwardable: true })
  expect((await client.ended).refusal).toEqual(away)
})

test('a run of which nothing was heard until its time was over is a fault of its worker; a slow one is not', async () => {
  await using silent = await openPool()
  silent.workers.join('ann', { plan: () => {} })
  expect((await (await silent.ask({ deadlineMs: 300 })).ended).refusal?.code).toBe('deadline_exceeded')
  expect(silent.eventsNamed('runEnded')).toMatchObject([{ how: 'timeout' }])
  await using slow = await openPool()
  slow.workers.join('bea', { plan: hangsAfter(2) })
  expect((await (await slow.ask({ deadlineMs: 1_500 })).ended).refusal?.code).toBe('deadline_exceeded')
  expect(slow.eventsNamed('runEnded')).toEqual([])
})

test('log probabilities arrive with the text they belong to', async () => {
  await using pool = await openPool()
  const piece = (text: string, logprob: number): Token => ({ id: 1, piece: Buffer.from(text), logprob })
  pool.workers.join('ann', {
    offers: [{ features: ['chat', 'logprobs'] }],
    plan: (run) => {
      run.say(piece('a', -0.5), piece('b', -1))
      run.end()
    },
  })
  const client = await pool.ask({ needs: ['chat', 'logprobs'] })
  expect((await client.ended).tokens.map((token) => token.logprob)).toEqual([-0.5, -1])
})

test('embeddings come once each and all together, although the first worker died in between', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', {
    plan: (run) => {
      run.vector(0, [9, 9])
      run.worker.die()
    },
  })
  const client = await pool.ask({ kind: 'embedding', needs: ['embedding'], maxTokens: 0, inputs: 2, resumable: false })
  pool.workers.join('bob', {
    plan: (run) => {
      run.vector(1, [3, 4])
      run.vector(0, [1, 2])
      run.end('stop', { completionTokens: 0 })
    },
  })
  const reply = await client.ended
  expect(reply.vectors.map((vector) => [...vector])).toEqual([
    [1, 2],
    [3, 4],
  ])
  expect(reply.usage).toEqual({ promptTokens: 3, completionTokens: 0 })
})

test('an embedding that lacks a vector is not passed on', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', {
    plan: (run) => {
      run.vector(0, [1])
      run.end('stop', { completionTokens: 0 })
    },
  })
  const client = await pool.ask({ kind: 'embedding', needs: ['embedding'], maxTokens: 0, inputs: 2, resumable: false })
  expect((await client.ended).refusal?.code).toBe('upstream_error')
})

test('tool calls pass as they are and end a takeover’s hope', async () => {
  await using pool = await openPool()
  pool.workers.join('ann', {
    plan: (run) => {
      run.delta({ tool_calls: [{ index: 0 }] })
      run.worker.die()
    },
  })
  pool.workers.join('bob', { slots: 1 })
  const client = await pool.ask()
  const reply = await client.ended
  if (reply.deltas.length > 0) expect(reply.refusal?.code).toBe('worker_lost')
})

test('what a slow reader has taken is told to its worker; a whole answer needs no telling', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: hangsAfter(4) })
  const slow = await pool.ask()
  await afterWords(slow, 4)
  expect(worker.had[0]?.consumedBytes).toBe(0)
  slow.handle?.consumed(0, 6)
  expect(worker.had[0]?.consumedBytes).toBe(6)
  slow.handle?.cancel()
  const whole = await pool.ask({ stream: false })
  await afterWords(whole, 4)
  await expect.poll(() => worker.had[1]?.consumedBytes).toBe(12)
  whole.handle?.cancel()
})

test('an owner whose own code throws loses its job, not the worker’s session', async () => {
  await using pool = await openPool()
  const worker = pool.workers.join('ann', { plan: answersIn(3) })
  const client = await pool.ask()
  client.onText = () => {
    throw new Error('our mistake')
  }
  expect((await client.ended).refusal?.code).toBe('internal_error')
  expect(worker.had[0]?.cancelled).toBe(true)
  expect(pool.eventsNamed('jobBroke')).toHaveLength(1)
})
