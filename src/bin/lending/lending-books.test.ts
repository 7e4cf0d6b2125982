import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { federationLimits, Toggles } from '#federation'
import { Ledger } from '#ledger'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { FederatedPool } from '../../testkit/federated-pool.ts'
import { lendingBooks } from './lending-books.ts'

let bert: FederatedPool
let other: FederatedPool
const { id, publicKey } = generateIdentity(systemRuntime)
const anna = id as PoolId
/** Micro-credits that a pool may owe Bert. */
const creditLimit = 100n
let ahead = 0
const runtime = { ...systemRuntime, now: () => systemRuntime.now() + ahead }

/** The books as two processes of one pool have them. */
const books = () =>
  [bert, other].map(({ db: { database } }) =>
    lendingBooks({ database, runtime, ledger: new Ledger(database, systemRuntime), creditLimit }),
  ) as [ReturnType<typeof lendingBooks>, ReturnType<typeof lendingBooks>]

beforeAll(async () => {
  bert = await FederatedPool.open('bert')
  other = await bert.another()
  const said = { name: 'anna', url: '', moleculeId: '', capabilities: [] }
  await bert.federation.peers.introduce(anna, publicKey, said)
})
afterAll(async () => {
  await other[Symbol.asyncDispose]()
  await bert[Symbol.asyncDispose]()
})

test('what another pool may owe is one sum for all processes, however many of its jobs come at once', async () => {
  const [one, two] = books()
  const asked = Array.from({ length: 12 }, (_, n) => (n % 2 ? one : two).reserve(anna, `at once ${n}`, 30n))
  const taken = await Promise.all(asked)
  expect(taken.filter((how) => how === 'reserved')).toHaveLength(3)
  expect(taken.filter((how) => how === 'credit')).toHaveLength(9)
  // one of them was not accepted after all
  await one.forget(anna, `at once ${taken.indexOf('reserved')}`)
  expect(await two.reserve(anna, 'instead', 30n)).toBe('reserved')
  expect(await one.reserve(anna, 'one more', 30n)).toBe('credit')
  expect(await two.reserve(anna, 'one more', 10n)).toBe('reserved')
})

test('a request that one process has taken is not taken by another', async () => {
  const [one, two] = books()
  ahead = 61_000
  expect(await one.reserve(anna, 'twice', 1n)).toBe('reserved')
  expect(await two.reserve(anna, 'twice', 1n)).toBe('again')
})

test('what a process that died was about to accept binds nothing for longer than a minute', async () => {
  const [one, two] = books()
  ahead = 200_000
  expect(await one.reserve(anna, 'all', 100n)).toBe('reserved')
  expect(await two.reserve(anna, 'later', 100n)).toBe('credit')
  ahead += 61_000
  expect(await two.reserve(anna, 'later', 100n)).toBe('reserved')
})

test('federation is switched off while a bonded pool sends all it may send at once, and none of its jobs is too many', async () => {
  const [one] = books()
  ahead = 400_000
  const { database } = bert.db
  using toggles = await Toggles.open({
    database,
    runtime: systemRuntime,
    filesThere: async () => [],
    whyNoWrite: async () => undefined,
    onFlip() {},
    onProblem: (error) => {
      throw error
    },
  })
  let taken = 0
  const jobs = Array.from({ length: federationLimits.jobsPerMinute[3] }, async (_, n) => {
    const how = await one.reserve(anna, `burst ${n}`, 0n)
    taken++
    return how
  })
  await expect.poll(() => taken, { interval: 1 }).toBeGreaterThan(0)
  await toggles.set('kill', true, { actor: 'owner.key', reason: 'a burst' })
  expect(taken).toBeLessThan(jobs.length)
  expect(new Set(await Promise.all(jobs))).toEqual(new Set(['reserved']))
})
