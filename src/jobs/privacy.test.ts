import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AssuranceLevel } from '#protocol'
import { SmallPool, type SmallPoolOptions } from '../testkit/small-pool.ts'
import { answersIn, diesAfter, type SmallClient } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

let home: TestDatabase
beforeAll(async () => {
  home = await testDatabase()
})
afterAll(() => home.drop())

const openPool = (options?: SmallPoolOptions) => SmallPool.open(home.database, options)
const upstream = { digest: null, engine: 'openai' } as const
const once = { privacy: 'single-exposure' } as const
const insists = (level: AssuranceLevel) => ({ assurance: { level, explicit: true } })

async function viewOf(pool: SmallPool, client: SmallClient) {
  const file = JSON.parse((await pool.receipt(client)).toString())
  return file.view.statement as { exposure: string[]; assurance: object; state: string }
}

test('with single exposure no second worker sees a prompt, and the receipt names the one that did', async () => {
  await using pool = await openPool({ whyUnchecked: () => 'single_exposure' })
  const first = pool.workers.join('ann', { plan: diesAfter(0) })
  const client = await pool.ask(once)
  const second = pool.workers.join('bob')
  const { refusal } = await client.ended
  expect(refusal).toMatchObject({ code: 'worker_lost' })
  expect(refusal?.message).toContain('no second worker may see the prompt')
  expect(second.had).toHaveLength(0)
  const assurance = { asked: 'sampled', given: 'none', reason: 'single_exposure' }
  expect(await viewOf(pool, client)).toMatchObject({ exposure: [first.id], assurance, state: 'failed' })
})

test('a worker that only said that it is busy has seen the prompt all the same', async () => {
  await using pool = await openPool()
  const busy = pool.workers.join('ann', { plan: (run) => run.fail({ code: 'overloaded' }) })
  const client = await pool.ask()
  await new Promise((resolve) => setTimeout(resolve, 20))
  const well = pool.workers.join('bob', { plan: answersIn(2) })
  expect((await client.ended).finishes).toEqual(['stop'])
  expect((await viewOf(pool, client)).exposure).toEqual([busy.id, well.id])
  const alone = await pool.ask(once)
  await alone.ended
  expect((await viewOf(pool, alone)).exposure).toHaveLength(1)
})

test('a paranoid request never reaches an upstream, unless its operator says that it is inside', async () => {
  await using pool = await openPool()
  const outside = pool.workers.join('ann', { offers: [upstream], slots: 16 })
  await expect(pool.ask({ privacy: 'paranoid' })).rejects.toMatchObject({ code: 'privacy_unavailable' })
  const inside = pool.workers.join('bob', { offers: [upstream], features: ['upstream_inside'] })
  const clients = await Promise.all([1, 2, 3].map(() => pool.ask({ privacy: 'paranoid' })))
  for (const client of clients) expect((await client.ended).finishes).toEqual(['stop'])
  const local = pool.workers.join('cid')
  inside.die()
  expect((await (await pool.ask({ privacy: 'paranoid' })).ended).finishes).toEqual(['stop'])
  expect([outside.had.length, inside.had.length, local.had.length]).toEqual([0, 3, 1])
})

test('what cannot be checked is served as a policy, and refused when somebody insists', async () => {
  await using pool = await openPool()
  pool.workers.join('ann')
  const client = await pool.ask()
  await client.ended
  const assurance = { asked: 'sampled', given: 'none', reason: 'checks_not_offered' }
  expect(client.handle?.assurance).toEqual(assurance)
  expect((await viewOf(pool, client)).assurance).toEqual(assurance)
  await expect(pool.ask(insists('sampled'))).rejects.toMatchObject({
    code: 'assurance_unavailable',
    message: expect.stringContaining('checks_not_offered'),
  })
})

test('who wants no check gets none, and who can be checked is told nothing else', async () => {
  await using pool = await openPool({ whyUnchecked: () => undefined })
  pool.workers.join('ann')
  const none = await pool.ask(insists('none'))
  expect(none.handle?.assurance).toEqual({ asked: 'none', given: 'none', reason: null })
  const sampled = await pool.ask(insists('sampled'))
  expect(sampled.handle?.assurance).toEqual({ asked: 'sampled', given: 'sampled', reason: null })
  const seenOnce = await pool.ask(once)
  expect(seenOnce.handle?.assurance).toEqual({ asked: 'sampled', given: 'sampled', reason: 'own_engine_only' })
  await Promise.all([none.ended, sampled.ended, seenOnce.ended])
})

test('with single exposure somebody else computes where the pool’s own engine is to look; where only that is there, nobody looks and all are told', async () => {
  await using pool = await openPool({ whyUnchecked: () => undefined })
  const own = pool.workers.join('own', { operator: 'self', slots: 16 })
  const ann = pool.workers.join('ann')
  const clients = await Promise.all([1, 2, 3].map(() => pool.ask({ ...once, ...insists('sampled') })))
  for (const client of clients) {
    await client.ended
    const assurance = { asked: 'sampled', given: 'sampled', reason: 'own_engine_only' }
    expect(client.handle?.assurance).toEqual(assurance)
    expect(await viewOf(pool, client)).toMatchObject({ exposure: [ann.id], assurance })
  }
  expect(own.had).toHaveLength(0)
  ann.die()
  const alone = await pool.ask(once)
  await alone.ended
  const assurance = { asked: 'sampled', given: 'none', reason: 'single_exposure' }
  expect(alone.handle?.assurance).toEqual(assurance)
  expect(await viewOf(pool, alone)).toMatchObject({ exposure: [own.id], assurance })
  await expect(pool.ask({ ...once, ...insists('sampled') })).rejects.toMatchObject({ code: 'assurance_unavailable' })
})
