import { expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { SmallPool } from '../testkit/small-pool.ts'
import {
  answersIn,
  diesAfter,
  hangsAfter,
  type Plan,
  type SmallClient,
  smallAnswer,
  smallPayer,
} from '../testkit/small-workers.ts'
import { testDatabase } from '../testkit/test-database.ts'

const tokens = 12
const whole = smallAnswer(tokens).join('')

/** Repeatable dice: mulberry32. */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return (sides) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % sides
  }
}

const plans = (roll: (sides: number) => number): Plan => {
  const all: Plan[] = [
    answersIn(tokens),
    answersIn(tokens),
    answersIn(tokens),
    diesAfter(roll(tokens)),
    (run) => run.fail(),
    (run) => run.fail({ code: 'overloaded' }),
    hangsAfter(roll(tokens)),
    async (run) => {
      await run.answer(roll(tokens))
      run.fail()
    },
  ]
  return all[roll(all.length)] as Plan
}

test.each([1, 2, 3])(
  'whatever workers and clients do, every job ends and no text is lost, doubled or mixed (%i)',
  async (seed) => {
    const roll = dice(seed)
    await using home = await testDatabase()
    await using pool = await SmallPool.open(home.database, {
      settings: { deadlineMs: 3_000, takeoverGraceMs: 1_500, noWorkerGraceMs: 1_500 },
    })
    let joined = 0
    const join = () => pool.workers.join(`worker-${joined++}`, { slots: 1 + roll(4), plan: (run) => plans(roll)(run) })
    for (let i = 0; i < 6; i++) join()

    const clients: SmallClient[] = []
    const left = new Set<SmallClient>()
    for (let i = 0; i < 120; i++) {
      const key = smallPayer(`key-${roll(3)}`, { weight: 1 + roll(2) })
      const client = await pool.ask({ key, choices: 1 + (roll(5) === 0 ? roll(3) : 0), prefix: [`user: ${roll(9)}`] })
      clients.push(client)
      if (roll(8) === 0) {
        left.add(client)
        setTimeout(() => client.handle?.cancel(), roll(60))
      }
      if (roll(6) === 0) join()
      if (roll(4) === 0) await systemRuntime.sleep(roll(8))
    }
    // Those who left hear nothing more, or had their answer before.
    const stayed = clients.filter((client) => !left.has(client))
    const replies = await Promise.all(stayed.map((client) => client.ended))
    for (const reply of replies) {
      for (const text of reply.texts) expect(whole.startsWith(text ?? '')).toBe(true)
      if (!reply.refusal) expect(reply.texts.every((text) => text === whole)).toBe(true)
    }
    expect(replies.filter((reply) => !reply.refusal).length).toBeGreaterThan(10)
    for (const client of left) expect(client.texts.every((text) => whole.startsWith(text ?? ''))).toBe(true)

    await expect
      .poll(() => pool.jobs.load, { timeout: 20_000 })
      .toMatchObject({ open: 0, queued: 0, unsettled: 0, bodyBytes: 0 })
    expect(pool.eventsNamed('jobBroke')).toEqual([])
    const [row] = await home.sql<{ all: number; open: number; running: number }[]>`
    select count(*)::int as all, count(*) filter (where ended_at is null)::int as open,
           (select count(*)::int from segments where outcome = 'running') as running from jobs`
    expect(row).toEqual({ all: clients.length, open: 0, running: 0 })
  },
)
