import { expect, test } from 'vitest'
import { diceOf } from './dice.ts'
import { earning, LabMoney } from './lab-money.ts'
import { LabPool } from './lab-pool.ts'
import { lookAt, noise } from './transcript.ts'
import { zoo } from './zoo.ts'

const lazy = zoo.find(({ name }) => name === 'lazy')

test('who is convicted loses everything held, gets no more work, and every credit is somewhere', () => {
  const pool = new LabPool('slashed', 8, 0.3)
  const [cheater] = pool.workers
  if (!cheater || !lazy) throw new Error('the cheater is missing')
  for (let round = 0; round < 30; round++) pool.round()
  cheater.become(lazy)
  for (let round = 0; round < 100 && !cheater.convicted; round++) pool.round()
  expect(cheater.convicted).toBe(true)
  const { served } = cheater
  pool.round()
  expect(cheater.served).toBe(served)
  pool.close()
  // It computed 30 answers for 0.8 each and expected 0.2 of each: one price for each is gone, but for what it saved since.
  expect(pool.profitOf(cheater)).toBeCloseTo(-served + 0.8 * cheater.cheated, 9)
  expect(pool.debt).toBe(0n)
})

test('a pool too small for second opinions waives its checks and says so', () => {
  const pool = new LabPool('small', 3, 0.3)
  for (let round = 0; round < 10; round++) pool.round()
  expect(pool.tally).toMatchObject({ requests: 30, checks: 0, waived: 30 })
})

test('an honest worker gets its earnings but for the last 200 and a few that wait to be booked', () => {
  const pool = new LabPool('honest', 8, 0.3)
  for (let round = 0; round < 1_000; round++) pool.round()
  pool.close()
  for (const worker of pool.workers) {
    expect(worker.held.length).toBeGreaterThanOrEqual(200)
    expect(pool.profitOf(worker)).toBeCloseTo(0, 9)
  }
  expect(Math.min(...pool.workers.map(({ held }) => held.length))).toBeLessThan(251)
})

test('a fork goes on from the same standing, and leaves the pool it came from alone', () => {
  const pool = new LabPool('fork', 8, 0.3)
  for (let round = 0; round < 300; round++) pool.round()
  const [one, same, other] = ['a', 'a', 'b'].map((seed) => pool.fork(seed))
  for (const fork of [one, same, other]) for (let round = 0; round < 300; round++) fork?.round()
  const cleanOf = (of: LabPool | undefined) => of?.workers.map(({ standing }) => standing.serve.clean)
  expect(cleanOf(one)).toEqual(cleanOf(same))
  expect(cleanOf(one)).not.toEqual(cleanOf(other))
  expect(pool.workers.map(({ served }) => served)).toEqual(Array(8).fill(300))
  for (const each of [pool, one, same, other]) each?.close()
})

test('a slash refunds users in full first, and what nobody has is a debt', () => {
  const money = new LabMoney()
  const worker = 'a'.repeat(64)
  money.charge(worker, 10, 0)
  money.release(worker, 8)
  money.slash(worker, 3, 10n)
  // Of three workers’ parts two are held and one was paid out before: the third has no source but the empty reserve.
  expect(money.debt).toBe(earning)
  expect(money.balance(`held:${worker}`)).toBe(0n)
  expect(money.balance(`worker:${worker}`)).toBe(8n * earning)
  money.assertConserved()
})

test('the judge sees every wrong answer, and good ones only where machines differ', () => {
  const dice = diceOf(3)
  let again = 0
  for (let n = 0; n < 2_000; n++) {
    expect(lookAt({ by: null, wrong: true, noisy: false }, false, dice)).toBe('hit')
    expect(lookAt({ by: null, wrong: false, noisy: false }, false, dice)).toBe('clean')
    expect(lookAt({ by: null, wrong: false, noisy: true }, false, dice)).toBe('hit')
    if (lookAt({ by: null, wrong: false, noisy: true }, true, dice) === 'hit') again += 1
  }
  expect(again / 2_000).toBeCloseTo(noise.again, 1)
})
