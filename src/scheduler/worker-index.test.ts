import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ModelFeature } from '#protocol'
import { PrefixAffinity } from './prefix-affinity.ts'
import { costOf, featureBits, type WorkerCapacity, WorkerIndex } from './worker-index.ts'

const digest = 'd'.repeat(64)
const chat: ModelFeature[] = ['chat', 'completion']
const chatBits = featureBits(['chat'])

const worker = (id: string, more: Partial<WorkerCapacity> = {}): WorkerCapacity => ({
  id,
  slots: 1,
  weight: 1,
  draining: false,
  offers: [{ name: 'moss', digest, features: chat }],
  ...more,
})

const indexOf = (...workers: WorkerCapacity[]) => {
  const index = new WorkerIndex()
  for (const one of workers) index.upsert(one)
  return { index, lane: index.lane('moss', chatBits) }
}

test('runs go to the worker whose relative load stays lowest, not to the one with fewest runs', () => {
  const { index, lane } = indexOf(worker('small', { slots: 2 }), worker('large', { slots: 8 }))
  const chosen = Array.from({ length: 5 }, () => {
    const id = index.choose(lane)
    if (id) index.take(id)
    return id
  })
  expect(chosen).toEqual(['large', 'large', 'large', 'large', 'small'])
})

test('of two equal machines the slower one, by weight, gets less', () => {
  const { index, lane } = indexOf(worker('slow', { slots: 8, weight: 0.25 }), worker('fast', { slots: 8 }))
  for (let i = 0; i < 5; i++) index.take(index.choose(lane) ?? '')
  expect([index.activeOf('slow'), index.activeOf('fast')]).toEqual([1, 4])
})

test('a full worker is not chosen until one of its runs ends', () => {
  const { index, lane } = indexOf(worker('only'))
  index.take('only')
  expect(index.choose(lane)).toBeUndefined()
  expect(() => index.take('only')).toThrow('with room')
  index.release('only')
  expect(index.choose(lane)).toBe('only')
})

test('a draining worker is never chosen, and comes back when it no longer drains', () => {
  const { index, lane } = indexOf(worker('only', { slots: 2 }))
  index.remember(['p'], 'only')
  index.upsert(worker('only', { slots: 2, draining: true }))
  expect([index.choose(lane), index.choose(lane, { prefix: ['p'] }), lane.size]).toEqual([undefined, undefined, 0])
  index.upsert(worker('only', { slots: 2 }))
  expect(index.choose(lane)).toBe('only')
})

test('a conversation goes back to the worker that holds it while that worker has room', () => {
  const { index, lane } = indexOf(worker('a', { slots: 2 }), worker('b', { slots: 2 }))
  index.remember(['prefix'], 'b')
  index.take('b')
  expect(index.choose(lane, { prefix: ['longer', 'prefix'] })).toBe('b')
  expect(index.choose(lane, { prefix: ['prefix'], excluded: ['b'] })).toBe('a')
  index.take('b')
  expect(index.choose(lane, { prefix: ['prefix'] })).toBe('a')
})

test('a worker that holds a conversation but not this model is not chosen for it', () => {
  const { index, lane } = indexOf(
    worker('a'),
    worker('b', { offers: [{ name: 'fern', digest: null, features: chat }] }),
  )
  index.remember(['prefix'], 'b')
  expect(index.choose(lane, { prefix: ['prefix'] })).toBe('a')
})

test('a model is found by its name, by name and file, and by the file alone', () => {
  const { index } = indexOf(worker('a'), worker('b', { offers: [{ name: 'moss', digest: null, features: chat }] }))
  expect(index.lane('moss', chatBits).size).toBe(2)
  expect(index.lane(`moss@${digest}`, chatBits).size).toBe(1)
  expect(index.choose(index.lane(`@${digest}`, chatBits))).toBe('a')
})

test('a request that needs log probabilities goes only where they are offered', () => {
  const { index } = indexOf(
    worker('plain'),
    worker('rich', { offers: [{ name: 'moss', digest, features: ['chat', 'logprobs'] }] }),
  )
  const lane = index.lane('moss', featureBits(['chat', 'logprobs']))
  expect([lane.size, index.choose(lane)]).toEqual([1, 'rich'])
})

test('lanes beyond the limit are forgotten and rebuilt with the loads of the moment', () => {
  const { index, lane } = indexOf(worker('a', { slots: 2 }), worker('b', { slots: 2 }))
  index.prune(() => false, 0)
  index.take('a')
  const rebuilt = index.lane('moss', chatBits)
  expect(rebuilt).not.toBe(lane)
  expect(index.choose(rebuilt)).toBe('b')
})

test('the oldest conversations are forgotten first', () => {
  const affinity = new PrefixAffinity(2)
  affinity.remember(['one', 'two'], 'a')
  affinity.remember(['one'], 'b')
  affinity.remember(['three'], 'c')
  expect(['one', 'two', 'three'].map((prefix) => affinity.workerOf(prefix))).toEqual(['b', undefined, 'c'])
})

type Step =
  | { do: 'join'; id: number; slots: number; weight: number; draining: boolean; rich: boolean }
  | { do: 'leave'; id: number }
  | { do: 'release'; id: number }
  | { do: 'choose'; excluded: number[]; rich: boolean }

const id = fc.nat(11)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('join' as const),
    id,
    slots: fc.integer({ min: 1, max: 5 }),
    weight: fc.constantFrom(0.1, 0.25, 0.5, 1),
    draining: fc.boolean(),
    rich: fc.boolean(),
  }),
  fc.record({ do: fc.constant('leave' as const), id }),
  fc.record({ do: fc.constant('release' as const), id }),
  fc.record({ do: fc.constant('choose' as const), excluded: fc.array(id, { maxLength: 4 }), rich: fc.boolean() }),
)

/** The rule of the index, by looking at everybody. */
class Oracle {
  readonly workers = new Map<string, { worker: WorkerCapacity; active: number }>()

  get freeSlots(): number {
    return [...this.workers.values()]
      .filter(({ worker }) => !worker.draining)
      .reduce((sum, { worker, active }) => sum + Math.max(0, worker.slots - active), 0)
  }

  best(rich: boolean, excluded: string[]): number {
    const costs = [...this.workers.values()]
      .filter(({ worker }) => !worker.draining && !excluded.includes(worker.id))
      .filter(({ worker }) => !rich || worker.offers[0]?.features.includes('logprobs'))
      .map(({ worker, active }) => costOf(worker, active))
    return Math.min(Number.POSITIVE_INFINITY, ...costs)
  }
}

test('whatever joins, leaves, fills and drains, the choice costs what the best of all costs', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) => {
      const index = new WorkerIndex()
      const oracle = new Oracle()
      for (const one of steps) {
        expect(index.freeSlots).toBe(oracle.freeSlots)
        if (one.do === 'join') {
          const features: ModelFeature[] = one.rich ? ['chat', 'logprobs'] : ['chat']
          const now = worker(`w${one.id}`, { ...one, id: `w${one.id}`, offers: [{ name: 'moss', digest, features }] })
          index.upsert(now)
          oracle.workers.set(now.id, { worker: now, active: oracle.workers.get(now.id)?.active ?? 0 })
        } else if (one.do === 'leave') {
          index.remove(`w${one.id}`)
          oracle.workers.delete(`w${one.id}`)
        } else if (one.do === 'release') {
          const known = oracle.workers.get(`w${one.id}`)
          if (known) known.active = Math.max(0, known.active - 1)
          index.release(`w${one.id}`)
        } else {
          const excluded = one.excluded.map((n) => `w${n}`)
          const lane = index.lane('moss', featureBits(one.rich ? ['chat', 'logprobs'] : ['chat']))
          const chosen = index.choose(lane, { excluded })
          const known = chosen === undefined ? undefined : oracle.workers.get(chosen)
          const cost = known ? costOf(known.worker, known.active) : Number.POSITIVE_INFINITY
          expect(cost).toBe(oracle.best(one.rich, excluded))
          if (chosen === undefined || !known) continue
          expect(known.worker.draining || excluded.includes(chosen) || known.active >= known.worker.slots).toBe(false)
          index.take(chosen)
          known.active++
        }
      }
    }),
    { numRuns: 300 },
  )
})
