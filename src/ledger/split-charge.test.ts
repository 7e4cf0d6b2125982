import fc from 'fast-check'
import { expect, test } from 'vitest'
import { apportion, executorPrices, splitBorrowed, splitCharge } from './split-charge.ts'

const worker = (n: number) => `worker:${String(n).repeat(64)}`

test('a charge goes 60 to the worker, 20 to the pool that ran it, 10 to the one that sent it, 10 to the treasury', () => {
  const split = { amount: 100n, segments: [{ account: worker(1), tokens: 7 }], origin: 'peer:x' }
  const legs = splitCharge(split).map(({ account, amount }) => [account, amount])
  expect(legs).toEqual([
    [worker(1), 60n],
    ['pool', 20n],
    ['peer:x', 10n],
    ['treasury', 10n],
  ])
  const own = splitCharge({ amount: 100n, segments: split.segments }).map(({ account, amount }) => [account, amount])
  expect(own).toEqual([
    [worker(1), 60n],
    ['pool', 30n],
    ['treasury', 10n],
  ])
})

test('two workers share in proportion to their tokens, and nobody’s part goes to the reserve when nobody is paid', () => {
  const segments = [
    { account: worker(1), tokens: 1 },
    { account: worker(2), tokens: 2 },
    { account: worker(1), tokens: 3 },
  ]
  expect(
    splitCharge({ amount: 1_000n, segments })
      .slice(0, 2)
      .map(({ amount }) => amount),
  ).toEqual([400n, 200n])
  expect(splitCharge({ amount: 10n, segments: [] })[0]).toEqual({ account: 'refund_reserve', amount: 6n })
  expect(splitCharge({ amount: 0n, segments })).toEqual([])
})

test('legs always sum to the charge, to the last micro-credit', () => {
  const segment = fc.record({ account: fc.nat(4).map(worker), tokens: fc.nat(5_000) })
  const charges = fc.record({
    amount: fc.bigInt(0n, 10n ** 15n),
    segments: fc.array(segment, { maxLength: 20 }),
    origin: fc.constantFrom('pool', 'peer:x'),
  })
  fc.assert(
    fc.property(charges, (charge) => {
      const legs = splitCharge(charge)
      expect(legs.reduce((sum, leg) => sum + leg.amount, 0n)).toBe(charge.amount)
      expect(legs.every((leg) => leg.amount > 0n)).toBe(true)
      expect(new Set(legs.map((leg) => leg.account)).size).toBe(legs.length)
    }),
  )
})

test('what another pool computed is owed to it as it counts it itself, and the rest is shared by who was asked', () => {
  const prices = { prompt: 101n, completion: 404n }
  const usage = { promptTokens: 7, completionTokens: 13 }
  const amount = 7n * 101n + 13n * 404n
  const owed = executorPrices(prices)
  const legs = splitBorrowed({ amount, segments: [], borrowed: [{ account: 'peer:b', ...usage }], prices })
  const due = 7n * owed.prompt + 13n * owed.completion
  expect(legs[0]).toEqual({ account: 'peer:b', amount: due })
  expect(legs.reduce((sum, leg) => sum + leg.amount, 0n)).toBe(amount)
  expect(legs.slice(1).map(({ account }) => account)).toEqual(['pool', 'treasury'])
  const there = splitCharge({ amount: due, segments: [{ account: worker(1), tokens: 13 }], lent: true })
  expect(there.map(({ account }) => account)).toEqual([worker(1), 'pool'])
  expect(there.reduce((sum, leg) => sum + leg.amount, 0n)).toBe(due)
  expect(Number(there[0]?.amount) / Number(due)).toBeCloseTo(0.75, 2)
})

test('an answer that two pools made is paid to both', () => {
  const prices = { prompt: 100n, completion: 400n }
  const borrowed = [{ account: 'peer:b', promptTokens: 0, completionTokens: 4 }]
  const legs = splitBorrowed({ amount: 3_000n, segments: [{ account: worker(1), tokens: 3 }], borrowed, prices })
  expect(legs.reduce((sum, leg) => sum + leg.amount, 0n)).toBe(3_000n)
  expect(legs.find(({ account }) => account === 'peer:b')?.amount).toBe(1_280n)
  expect(legs.find(({ account }) => account === worker(1))?.amount).toBe(840n)
})

test('no share is further than one unit from its exact part', () => {
  const weights = fc
    .array(fc.bigInt(0n, 1_000n), { minLength: 1, maxLength: 9 })
    .filter((all) => all.some((one) => one > 0n))
  fc.assert(
    fc.property(fc.bigInt(0n, 10n ** 9n), weights, (whole, all) => {
      const sum = all.reduce((total, one) => total + one, 0n)
      for (const [n, share] of apportion(whole, all).entries()) {
        const off = share * sum - whole * (all[n] ?? 0n)
        expect(off < sum && off > -sum).toBe(true)
      }
    }),
  )
})
