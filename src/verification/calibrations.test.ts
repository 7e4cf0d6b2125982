import { afterAll, beforeAll, expect, test } from 'vitest'
import { SmallChecks, smallFile, smallWorker } from '../testkit/small-checks.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { calibrateTogether } from './calibrate.ts'

let home: TestDatabase
let town: SmallChecks
beforeAll(async () => {
  home = await testDatabase()
  town = await SmallChecks.open(home.database)
})
afterAll(async () => {
  await town?.[Symbol.asyncDispose]()
  await home?.drop()
})

const clean = () => 'clean' as const

async function ended(jobId: string): Promise<{ state: string; verifier: string }> {
  const read = async () => {
    const [row] = await home.sql<{ state: string; verifier: string }[]>`
      select state, verifier from checks where job_id = ${jobId} and ended_at is not null`
    return row
  }
  await expect.poll(read, { timeout: 20_000 }).toBeDefined()
  return (await read()) as { state: string; verifier: string }
}

/** Honest runs of one pair of classes, as if they had been learnt. */
async function learnt(model: string, looked: string, count: number, mean: number, max: number): Promise<void> {
  await home.sql`
    insert into calibrations (check_id, digest, answered, looked, operator, vouched_by, mean, max, at)
    select gen_random_uuid(), ${smallFile(model)}, 'k0', ${looked}, 'op' || n % 2, 'reference', ${mean}, ${max}, now()
      from generate_series(1, ${2 * count}) n`
}

const runsOf = (model: string) => home.sql<{ answered: string; looked: string; vouchedBy: string; max: number }[]>`
  select answered, looked, vouched_by as "vouchedBy", max from calibrations where digest = ${smallFile(model)}`

test('what others find in answers of the pool’s own engine is learnt from; what nobody vouches for is not', async () => {
  town.join('own', { self: clean, ann: clean, bob: clean }, { self: 'k0', ann: 'k1', bob: 'k1', mallory: 'k0' })
  await ended(await town.answered('own', {}, 'self'))
  expect(await runsOf('own')).toEqual([{ answered: 'k0', looked: 'k1', vouchedBy: 'reference', max: 0 }])
  town.join('others', { ann: clean, bob: clean, cid: clean }, { ann: 'k1', bob: 'k1', cid: 'k1', mallory: 'k0' })
  await ended(await town.answered('others'))
  expect(await runsOf('others')).toEqual([])
})

test('an honest answer that one found bad and two others found good is learnt from, too', async () => {
  let accusers = 0
  const once = () => (accusers++ === 0 ? ('hit' as const) : ('clean' as const))
  town.join('noisy', { ann: once, bob: once, cid: once }, { ann: 'k1', bob: 'k1', cid: 'k1', mallory: 'k0' })
  expect((await ended(await town.answered('noisy'))).state).toBe('clean')
  expect(await runsOf('noisy')).toEqual([{ answered: 'k0', looked: 'k1', vouchedBy: 'two_operators', max: 3 }])
})

test('a pair is judged by what was learnt of it', async () => {
  const says = () => 0.3
  town.join('apart', { ann: says, bob: says, cid: says }, { ann: 'k1', bob: 'k1', cid: 'k1', mallory: 'k0' })
  expect((await ended(await town.answered('apart'))).state).toBe('hit')
  town.join('near', { ann: says, bob: says, cid: says }, { ann: 'k1', bob: 'k1', cid: 'k1', mallory: 'k0' })
  await learnt('near', 'k1', 3_000, 0.4, 0.8)
  expect((await ended(await town.answered('near'))).state).toBe('clean')
})

test('a verifier whose class cannot be compared with the worker’s is not asked', async () => {
  town.join('mixed', { ann: clean, bob: clean, cid: clean }, { ann: 'k1', bob: 'k1', cid: 'k2', mallory: 'k0' })
  await learnt('mixed', 'k1', 50, 0.1, 1.6)
  for (let n = 0; n < 4; n++) {
    expect(await ended(await town.answered('mixed'))).toEqual({
      state: 'clean',
      verifier: smallWorker('mixed', 'cid').id,
    })
  }
})

test('a single operator moves no threshold, whatever its verifiers claim of honest answers', () => {
  const run = { vouchedBy: 'reference' as const, mean: 0.1, max: 0.4 }
  const honest = Array.from({ length: 4_000 }, (_, n) => ({ ...run, operator: `op${n % 2}` }))
  const liar = (mean: number, max: number) =>
    Array.from({ length: 4_000 }, () => ({ ...run, operator: 'liar', mean, max }))
  const right = calibrateTogether(honest)
  expect(right).toMatchObject({ comparable: true, thresholds: { mean: 0.25, position: 2 } })
  expect(calibrateTogether([...honest, ...liar(0.5, 1.4)])).toMatchObject({ thresholds: { mean: 0.25, position: 2 } })
  expect(calibrateTogether([...honest, ...liar(3, 3)])).toMatchObject({ comparable: true })
  expect(calibrateTogether(liar(3, 3))).toMatchObject({ comparable: false })
})
