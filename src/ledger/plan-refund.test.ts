import fc from 'fast-check'
import { expect, test } from 'vitest'
import { planRefund } from './plan-refund.ts'

const cheat = `held:${'a'.repeat(64)}`
const honest = `held:${'b'.repeat(64)}`
const stake = 'stake:00000000-0000-4000-8000-000000000001'
const legs = [
  { account: cheat, amount: 60n },
  { account: 'pool', amount: 30n },
  { account: 'treasury', amount: 10n },
]
const plan = (available: Record<string, bigint>, more: Partial<Parameters<typeof planRefund>[0]> = {}) =>
  Object.fromEntries(
    planRefund({ legs, held: cheat, stake, available: new Map(Object.entries(available)), ...more }).map((part) => [
      part.from,
      part.amount,
    ]),
  )

test('whoever was paid for a false answer pays it back', () => {
  const all = { [cheat]: 500n, pool: 500n, treasury: 500n, refund_reserve: 500n }
  expect(plan(all)).toEqual({ [cheat]: 60n, pool: 30n, treasury: 10n })
})

test('a worker that has too little is helped by its operator’s stake, then by the reserve', () => {
  expect(plan({ [cheat]: 20n, [stake]: 15n, pool: 30n, treasury: 10n, refund_reserve: 500n })).toEqual({
    [cheat]: 20n,
    [stake]: 15n,
    pool: 30n,
    treasury: 10n,
    refund_reserve: 25n,
  })
})

test('what nobody has is the pool’s debt, and the user is paid in full', () => {
  expect(plan({})).toEqual({ debt: 100n })
})

test('an honest worker that computed the other half keeps what it got', () => {
  const shared = [{ account: honest, amount: 30n }, { account: cheat, amount: 30n }, ...legs.slice(1)]
  const all = { [cheat]: 500n, [honest]: 500n, pool: 500n, treasury: 500n, refund_reserve: 500n }
  expect(plan(all, { legs: shared })).toEqual({ [cheat]: 30n, pool: 30n, treasury: 10n, refund_reserve: 30n })
})

test('whatever there is, the parts sum to the price and nobody gives more than it has', () => {
  const names = [cheat, honest, stake, 'pool', 'treasury', 'refund_reserve']
  const amount = fc.bigInt({ min: 1n, max: 1_000n })
  fc.assert(
    fc.property(
      fc.array(fc.record({ account: fc.constantFrom(cheat, honest, 'pool', 'treasury', 'refund_reserve'), amount }), {
        minLength: 1,
        maxLength: 8,
      }),
      fc.array(fc.bigInt({ min: 0n, max: 1_500n }), { minLength: names.length, maxLength: names.length }),
      (paid, balances) => {
        const available = new Map(names.map((name, n) => [name, balances[n] ?? 0n]))
        const parts = planRefund({ legs: paid, held: cheat, stake, available })
        expect(parts.reduce((sum, part) => sum + part.amount, 0n)).toBe(paid.reduce((sum, leg) => sum + leg.amount, 0n))
        for (const { from, amount: part } of parts) {
          expect(part).toBeGreaterThan(0n)
          if (from !== 'debt') expect(part).toBeLessThanOrEqual(available.get(from) ?? 0n)
          expect(from).not.toBe(honest)
        }
        expect(new Set(parts.map(({ from }) => from)).size).toBe(parts.length)
      },
    ),
    { numRuns: 500 },
  )
})
