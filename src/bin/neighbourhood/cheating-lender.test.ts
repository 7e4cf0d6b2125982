import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoModelPath, eventually } from '#testkit'
import { answered, befriend, Town } from '../../testkit/town.ts'

/** A pool with one worker borrows from one whose only worker edits what its model said. */

const [bert, carl] = [new Town(), new Town()]

beforeAll(async () => {
  for (const pool of [bert, carl]) await pool.makeRoad()
  const known = { LICHEN_FEDERATION_HTTP_HOSTS: [bert, carl].map(({ road }) => new URL(road.url).host).join(',') }
  await bert.open('pool', 'bert', known)
  // one worker that does one thing at a time, and others are asked as soon as somebody waits for it
  await carl.open('up', 'carl', { ...known, LICHEN_SLOTS: '1', LICHEN_FEDERATION_QUEUE: '0' })
}, 200_000)
afterAll(async () => {
  await Promise.all([bert, carl].map((pool) => pool[Symbol.asyncDispose]()))
})

test('a pool whose worker signs what its model did not say is found out by the one worker here, and trusted less by itself', async () => {
  await befriend(carl, bert)
  await bert.joinCheat('mallory', { model: demoModelPath, cheat: 'edits', rate: 1 })
  const bertHere = async () => (await carl.peers()).find(({ id }) => id === bert.id)
  await eventually(
    'bert to be trusted less',
    async () => {
      if (!(await bertHere())?.models.includes('lichen-demo')) await carl.look(bert)
      await Promise.all(
        Array.from({ length: 6 }, () => answered(carl, 'what is two and seven?').catch(() => undefined)),
      )
      return (await bertHere())?.trust === 1
    },
    120_000,
  )
  const { record } = (await bertHere()) ?? {}
  expect(record?.mismatches).toBeGreaterThanOrEqual(3)
  expect(record?.last_why).toBe('its answer is not that of lichen-demo')
  // one for each answer that a look has refuted, and no other
  const refuted = () =>
    carl.inBooks(async ({ sql }) => {
      const [row] = await sql<{ n: number }[]>`
        select count(*)::int as n from checks where worker_id = ${bert.id} and state = 'hit'`
      return row?.n
    })
  const shown = async () =>
    /ok\/failed\/wrong\s+\d+\/\d+\/(\d+)/.exec((await carl.cli('fed', 'show', bert.id)).out)?.[1]
  await eventually('every refuted answer to be shown', async () => Number(await shown()) === (await refuted()))
  expect(carl.pool?.stderr).toContain('the trust in another pool changed by itself')
  // and nothing goes there any more
  for (const { text, receipt } of await Promise.all(Array.from({ length: 4 }, () => answered(carl, 'echo ab')))) {
    expect(text).toBe('ab')
    expect(await carl.computedBy(receipt)).not.toContain(bert.id)
  }
}, 180_000)
