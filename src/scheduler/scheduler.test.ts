import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Lane } from './lane.ts'
import { Scheduler } from './scheduler.ts'
import { featureBits, type WorkerCapacity } from './worker-index.ts'

const chat = featureBits(['chat'])
const worker = (id: string, slots: number, models = ['moss']): WorkerCapacity => ({
  id,
  slots,
  weight: 1,
  draining: false,
  offers: models.map((name) => ({ name, digest: null, features: ['chat'] })),
})

const ask = (key: string) => ({ key, cost: 1 })

test('a run that finds room starts at once and is not charged; the next one waits', () => {
  const scheduler = new Scheduler<string>()
  scheduler.workers.upsert(worker('w', 1))
  const lane = scheduler.workers.lane('moss', chat)
  for (let i = 0; i < 2; i++) expect(scheduler.admit('alice', 1, 1)).toBeUndefined()
  expect(scheduler.submit(lane, ask('alice'), 'first')).toEqual({ workerId: 'w' })
  expect(scheduler.submit(lane, ask('alice'), 'second')).toHaveProperty('waiting')
  expect(scheduler.next('w')).toBeUndefined()
  scheduler.workers.release('w')
  expect([scheduler.next('w'), scheduler.next('w')]).toEqual([{ item: 'second', charged: true }, undefined])
})

test('beside idle workers of good name a newcomer gets one run in eight, and a hundred newcomers get no more', () => {
  for (const newcomers of [1, 100]) {
    const scheduler = new Scheduler<string>()
    for (const id of ['ann', 'bob']) scheduler.workers.upsert(worker(id, 4))
    for (let n = 0; n < newcomers; n++) {
      const offers = [{ name: 'moss', digest: null, features: ['chat', 'newcomer'] as const }]
      scheduler.workers.upsert({ ...worker(`new${n}`, 2), weight: 0.05, offers })
    }
    const lane = scheduler.workers.lane('moss', chat)
    const served: string[] = []
    for (let n = 0; n < 80; n++) {
      scheduler.admit('alice', 1, 1)
      // The conversation is known to one of good name: a newcomer has its turn all the same.
      scheduler.workers.remember(['talk'], 'ann')
      const placed = scheduler.submit(lane, { ...ask('alice'), prefix: ['talk'] }, 'run')
      if (!('workerId' in placed)) throw new Error('somebody has room')
      served.push(placed.workerId)
      scheduler.workers.release(placed.workerId)
    }
    const turns = served.filter((id) => id.startsWith('new'))
    expect(turns).toHaveLength(10)
    expect(new Set(turns).size).toBe(Math.min(newcomers, 10))
  }
})

test('a run on its second attempt goes before those that wait, but never to the worker that failed it', () => {
  const scheduler = new Scheduler<string>()
  for (const id of ['a', 'b']) scheduler.workers.upsert(worker(id, 1))
  const lane = scheduler.workers.lane('moss', chat)
  scheduler.workers.take('a')
  scheduler.workers.take('b')
  scheduler.admit('alice', 1, 1)
  scheduler.submit(lane, ask('alice'), 'waiting')
  scheduler.resubmit(lane, ['a'], 'again')
  scheduler.workers.release('a')
  expect(scheduler.next('a')?.item).toBe('waiting')
  scheduler.workers.release('b')
  expect(scheduler.next('b')?.item).toBe('again')
})

test('a model without a free worker does not hold up another', () => {
  const scheduler = new Scheduler<string>()
  scheduler.workers.upsert(worker('m', 1, ['moss']))
  scheduler.workers.upsert(worker('f', 1, ['fern']))
  scheduler.workers.take('m')
  const place = (model: string) => {
    scheduler.admit('alice', 1, 1)
    return scheduler.submit(scheduler.workers.lane(model, chat), ask('alice'), model)
  }
  expect(place('moss')).toHaveProperty('waiting')
  expect(place('fern')).toEqual({ workerId: 'f' })
})

type Step =
  | { do: 'submit'; key: number; model: number }
  | { do: 'resubmit'; model: number; excluded: number }
  | { do: 'end'; at: number }
  | { do: 'join'; id: number; slots: number; models: number[] }
  | { do: 'leave'; id: number }
  | { do: 'cancel'; at: number }

const small = fc.nat(3)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('submit' as const), key: small, model: small }) },
  fc.record({ do: fc.constant('resubmit' as const), model: small, excluded: small }),
  { weight: 3, arbitrary: fc.record({ do: fc.constant('end' as const), at: fc.nat(50) }) },
  fc.record({
    do: fc.constant('join' as const),
    id: small,
    slots: fc.integer({ min: 1, max: 3 }),
    models: fc.uniqueArray(small, { minLength: 1 }),
  }),
  fc.record({ do: fc.constant('leave' as const), id: small }),
  fc.record({ do: fc.constant('cancel' as const), at: fc.nat(50) }),
)

interface Waiting {
  item: string
  lane: Lane
  excluded: string[]
  handle: Parameters<Scheduler<string>['cancel']>[0]
}

/** A pool in small: starts what the scheduler says, ends what the steps say. */
class SmallPool {
  readonly scheduler = new Scheduler<string>({ totalMax: 100, perKeyMax: 50 })
  readonly running: { item: string; workerId: string }[] = []
  waiting: Waiting[] = []
  #items = 0

  submit(key: number, model: number, excluded?: string): void {
    const item = `run ${this.#items++}`
    const lane = this.scheduler.workers.lane(`m${model}`, chat)
    if (excluded === undefined && this.scheduler.admit(`k${key}`, 1 + key, 1)) return
    const placed = excluded
      ? this.scheduler.resubmit(lane, [excluded], item)
      : this.scheduler.submit(lane, ask(`k${key}`), item)
    if ('workerId' in placed) this.running.push({ item, workerId: placed.workerId })
    else this.waiting.push({ item, lane, excluded: excluded ? [excluded] : [], handle: placed.waiting })
  }

  refill(workerId: string): void {
    for (let next = this.scheduler.next(workerId); next; next = this.scheduler.next(workerId)) {
      const { item } = next
      this.running.push({ item, workerId })
      this.waiting = this.waiting.filter((one) => one.item !== item)
    }
  }

  step(one: Step): void {
    if (one.do === 'submit') this.submit(one.key, one.model)
    else if (one.do === 'resubmit') this.submit(0, one.model, `w${one.excluded}`)
    else if (one.do === 'end') {
      const [ended] = this.running.splice(one.at % Math.max(1, this.running.length), 1)
      if (!ended) return
      this.scheduler.workers.release(ended.workerId)
      this.refill(ended.workerId)
    } else if (one.do === 'join') {
      this.scheduler.workers.upsert(
        worker(
          `w${one.id}`,
          one.slots,
          one.models.map((model) => `m${model}`),
        ),
      )
      this.refill(`w${one.id}`)
    } else if (one.do === 'leave') {
      this.scheduler.workers.remove(`w${one.id}`)
      for (let i = this.running.length - 1; i >= 0; i--) {
        if (this.running[i]?.workerId === `w${one.id}`) this.running.splice(i, 1)
      }
    } else {
      const target = this.waiting.splice(one.at % Math.max(1, this.waiting.length), 1)[0]
      if (target) expect(this.scheduler.cancel(target.handle)).toBe(true)
    }
  }
}

test('no worker has more runs than it can hold, and no run waits while a worker for it is free', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 30, maxLength: 200 }), (steps) => {
      const pool = new SmallPool()
      const { workers } = pool.scheduler
      for (const one of steps) {
        pool.step(one)
        for (const id of ['w0', 'w1', 'w2', 'w3']) {
          const mine = pool.running.filter((run) => run.workerId === id).length
          expect(workers.activeOf(id)).toBe(mine)
        }
        for (const { lane, excluded } of pool.waiting) expect(workers.choose(lane, { excluded })).toBeUndefined()
      }
    }),
    { numRuns: 200 },
  )
})
