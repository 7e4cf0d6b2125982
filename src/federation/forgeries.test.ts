import { expect, test } from 'vitest'
import type { PoolId } from '#protocol'
import { Forgeries } from './forgeries.ts'
import { federationLimits } from './limits.ts'

const [anna, bert] = ['aa'.repeat(32) as PoolId, 'bb'.repeat(32) as PoolId]
const { forgeriesPerMinute, forgeriesPerMinuteInAll, failuresPerMinute, networksPerPeerMax, bytesPerFailure } =
  federationLimits

/** Forgeries under an id, each from a network of its own, until no more is looked at; how many were. */
function flood(forgeries: Forgeries, id: PoolId | 'strangers', now = 0, bytes = 0): number {
  for (let n = 0; n < 10_000; n++) {
    const network = `${id} ${n} ${now}`
    if (forgeries.whyNotLookedAt(id, network, now)) return n
    forgeries.failed(id, network, now, bytes)
  }
  return 10_000
}

test('who forges under a pool’s id from everywhere has its share of a minute; the pool is heard where it has proved itself', () => {
  const forgeries = new Forgeries()
  forgeries.proved(anna, 'home', 2)
  expect(flood(forgeries, anna)).toBe(forgeriesPerMinute)
  expect(forgeries.whyNotLookedAt(anna, 'elsewhere', 0)).toBe('id')
  expect(forgeries.whyNotLookedAt(anna, 'home', 0)).toBeUndefined()
  expect(forgeries.whyNotLookedAt(bert, 'home', 0)).toBeUndefined()
  expect(forgeries.whyNotLookedAt('strangers', 'home', 0)).toBeUndefined()
  // a minute later the share is there again
  expect(flood(forgeries, anna, 60_000)).toBe(forgeriesPerMinute)
})

test('what fails in the network of a pool counts for that network, and not for its id', () => {
  const forgeries = new Forgeries()
  forgeries.proved(anna, 'home', 1)
  for (let n = 0; n < failuresPerMinute; n++) {
    expect(forgeries.whyNotLookedAt(anna, 'home', 0)).toBeUndefined()
    forgeries.failed(anna, 'home', 0, 0)
  }
  expect(forgeries.whyNotLookedAt(anna, 'home', 0)).toBe('network')
  expect(forgeries.whyNotLookedAt(anna, 'elsewhere', 0)).toBeUndefined()
})

test('forgers under many ids have a share together, and strangers another: they take nothing from known pools', () => {
  const forgeries = new Forgeries()
  forgeries.proved(bert, 'home', 2)
  expect(flood(forgeries, 'strangers')).toBe(forgeriesPerMinuteInAll)
  expect(forgeries.whyNotLookedAt('strangers', 'elsewhere', 0)).toBe('all')
  expect(forgeries.whyNotLookedAt(bert, 'elsewhere', 0)).toBeUndefined()
  const ids = Array.from({ length: 20 }, (_, n) => String(n).padStart(64, '0') as PoolId)
  const looked = ids.reduce<number>((sum, id) => sum + flood(forgeries, id), 0)
  expect(looked).toBe(forgeriesPerMinuteInAll)
  expect(forgeries.whyNotLookedAt(bert, 'elsewhere', 0)).toBe('all')
  expect(forgeries.whyNotLookedAt(bert, 'home', 0)).toBeUndefined()
})

test('a long body that was read and hashed for nothing counts for many', () => {
  const forgeries = new Forgeries()
  expect(flood(forgeries, anna, 0, 9 * bytesPerFailure)).toBe(forgeriesPerMinute / 10)
})

test('long bodies are paid for to the last, whoever brings them one after the other', () => {
  const forgeries = new Forgeries()
  const minutes = 10
  let looked = 0
  for (let now = 0; now < minutes * 60_000; now += 50) {
    if (forgeries.whyNotLookedAt(anna, 'theirs', now)) continue
    forgeries.failed(anna, 'theirs', now, 16 * bytesPerFailure)
    looked++
  }
  // a minute's worth at once, the rest as it comes, and one that is owed
  expect(looked).toBeLessThanOrEqual(1 + ((minutes + 1) * failuresPerMinute) / 17)
})

test('a pool that moves is remembered where it was last; words of version 1, which others can repeat, drive no network out', () => {
  const forgeries = new Forgeries()
  for (let n = 0; n < networksPerPeerMax; n++) forgeries.proved(anna, `network ${n}`, 2)
  forgeries.proved(anna, 'network 0', 2)
  forgeries.proved(anna, 'repeated', 1)
  forgeries.proved(anna, 'new', 2)
  flood(forgeries, anna)
  const known = (network: string) => forgeries.whyNotLookedAt(anna, network, 0) === undefined
  expect(['network 0', 'network 1', 'network 2', 'repeated', 'new'].map(known)).toEqual([
    true,
    false,
    true,
    false,
    true,
  ])
})
