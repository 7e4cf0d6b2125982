import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FairQueue } from './fair-queue.ts'

interface Item {
  key: string
  n: number
}

const fill = (queue: FairQueue<string, Item>, key: string, count: number, weight = 1, lane = 'moss', cost = 1) =>
  Array.from({ length: count }, (_, n) => {
    expect(queue.admit(key, weight)).toBeUndefined()
    return queue.push(lane, key, cost, { key, n })
  })

const drain = (queue: FairQueue<string, Item>, lane = 'moss', most = Number.POSITIVE_INFINITY) => {
  const served: Item[] = []
  for (let item = queue.pop(lane); item; item = queue.pop(lane)) {
    served.push(item)
    if (served.length >= most) break
  }
  return served
}

test('one key is served in the order it asked', () => {
  const queue = new FairQueue<string, Item>()
  fill(queue, 'alice', 5)
  expect(drain(queue).map((item) => item.n)).toEqual([0, 1, 2, 3, 4])
})

test('a newcomer does not wait behind the hundreds of requests of another key', () => {
  const queue = new FairQueue<string, Item>()
  fill(queue, 'flood', 700)
  drain(queue, 'moss', 100)
  fill(queue, 'alice', 1)
  expect(drain(queue, 'moss', 2).some((item) => item.key === 'alice')).toBe(true)
})

test('keys within the allowance are served first come, first served', () => {
  const queue = new FairQueue<string, Item>()
  queue.allowance = 12
  for (const key of ['a', 'a', 'a', 'b', 'a', 'c']) fill(queue, key, 1)
  expect(drain(queue).map((item) => item.key)).toEqual(['a', 'a', 'a', 'b', 'a', 'c'])
})

test('a newcomer waits for the allowance and no longer, whoever floods', () => {
  const queue = new FairQueue<string, Item>()
  queue.allowance = 8
  for (const key of ['flood-1', 'flood-2', 'flood-3']) fill(queue, key, 250)
  drain(queue, 'moss', 300)
  for (let i = 0; i < 20; i++) {
    fill(queue, `newcomer-${i}`, 1)
    expect(drain(queue, 'moss', 12).some((item) => item.key === `newcomer-${i}`)).toBe(true)
  }
})

test('a key cannot save up time by being idle, nor by asking for a model that nobody serves', () => {
  const queue = new FairQueue<string, Item>()
  fill(queue, 'patient', 1, 1, 'nobody-serves-this')
  fill(queue, 'alice', 200)
  drain(queue, 'moss', 100)
  fill(queue, 'patient', 100)
  const next = drain(queue, 'moss', 20)
  expect(next.filter((item) => item.key === 'alice').length).toBeGreaterThanOrEqual(9)
})

test('asking for two models does not double a share', () => {
  const queue = new FairQueue<string, Item>()
  fill(queue, 'two-models', 100, 1, 'moss')
  fill(queue, 'two-models', 100, 1, 'fern')
  fill(queue, 'alice', 100, 1, 'moss')
  const served: Item[] = []
  for (let i = 0; i < 60; i++) {
    const lane = (queue.rank('fern') ?? Infinity) < (queue.rank('moss') ?? Infinity) ? 'fern' : 'moss'
    const item = queue.pop(lane)
    if (item) served.push(item)
  }
  expect(served.filter((item) => item.key === 'alice').length).toBeGreaterThanOrEqual(29)
})

test('the queue is full in total, and for one key before that', () => {
  const queue = new FairQueue<string, Item>({ totalMax: 3, perKeyMax: 2 })
  expect([queue.admit('a', 1), queue.admit('a', 1), queue.admit('a', 1)]).toEqual([undefined, undefined, 'key_full'])
  expect([queue.admit('b', 1), queue.admit('c', 1)]).toEqual([undefined, 'pool_full'])
  queue.withdraw('a')
  expect(queue.admit('c', 1)).toBeUndefined()
})

test('what was estimated too high is given back', () => {
  const queue = new FairQueue<string, Item>()
  fill(queue, 'careful', 2, 1, 'moss', 1_000)
  fill(queue, 'alice', 5, 1, 'moss', 10)
  expect(drain(queue, 'moss', 2).map((item) => item.key)).toEqual(['careful', 'alice'])
  queue.charge('careful', -995)
  expect(queue.pop('moss')?.key).toBe('careful')
})

test('a cancelled request is never served and cannot be cancelled twice', () => {
  const queue = new FairQueue<string, Item>()
  const tickets = fill(queue, 'alice', 3)
  expect([tickets[1], tickets[1]].map((ticket) => ticket && queue.cancel(ticket))).toEqual([true, false])
  expect(drain(queue).map((item) => item.n)).toEqual([0, 2])
  expect([queue.size, queue.admitted]).toEqual([0, 0])
})

const weights = fc.array(fc.constantFrom(0.5, 1, 2, 4), { minLength: 2, maxLength: 6 })

const sixtyCosts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 60, maxLength: 60 })

test('while keys compete, what they are served per weight differs by the allowance and one item of each', () => {
  fc.assert(
    fc.property(weights, sixtyCosts, fc.constantFrom(0, 30, 200), (shares, costs, allowance) => {
      const queue = new FairQueue<string, Item>()
      queue.allowance = allowance
      const costMax = Math.max(...costs)
      shares.forEach((weight, k) => {
        costs.forEach((cost, n) => {
          queue.admit(`k${k}`, weight)
          queue.push('moss', `k${k}`, cost, { key: `k${k}`, n })
        })
      })
      const served = shares.map(() => 0)
      for (let i = 0; i < costs.length; i++) {
        const item = queue.pop('moss')
        const k = Number(item?.key.slice(1))
        served[k] = (served[k] ?? 0) + (costs[item?.n ?? 0] ?? 0)
        for (let a = 0; a < shares.length; a++) {
          for (let b = 0; b < a; b++) {
            const [wa, wb] = [shares[a] ?? 1, shares[b] ?? 1]
            const apart = Math.abs((served[a] ?? 0) / wa - (served[b] ?? 0) / wb)
            expect(apart).toBeLessThanOrEqual(
              (allowance + costMax) / Math.min(wa, wb) + costMax / Math.max(wa, wb) + 1e-9,
            )
          }
        }
      }
    }),
    { numRuns: 60 },
  )
})

type Step = { do: 'push'; key: number; cost: number } | { do: 'pop' } | { do: 'cancel'; at: number }
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('push' as const), key: fc.nat(4), cost: fc.integer({ min: 1, max: 9 }) }),
  fc.constant({ do: 'pop' as const }),
  fc.record({ do: fc.constant('cancel' as const), at: fc.nat(400) }),
)

test('nothing is lost, doubled or overtaken within its key, and nobody waits for ever', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const queue = new FairQueue<string, number>({ totalMax: 40, perKeyMax: 12 })
      const waiting = new Map<number, number[]>()
      const tickets: { key: number; n: number; ticket: ReturnType<typeof queue.push> }[] = []
      let sequence = 0
      const gone = (key: number, n: number) => {
        const line = waiting.get(key) ?? []
        waiting.set(
          key,
          line.filter((other) => other !== n),
        )
        return line
      }
      const keyOf = (n: number) => tickets[n]?.key ?? -1
      for (const one of steps) {
        if (one.do === 'push') {
          const line = waiting.get(one.key) ?? []
          const full = queue.admit(`${one.key}`, 1 + one.key)
          expect(full === undefined).toBe(line.length < 12 && queue.size < 40)
          if (full) continue
          const n = sequence++
          waiting.set(one.key, [...line, n])
          tickets.push({ key: one.key, n, ticket: queue.push('moss', `${one.key}`, one.cost, n) })
        } else if (one.do === 'pop') {
          const n = queue.pop('moss')
          if (n === undefined) expect([...waiting.values()].flat()).toEqual([])
          else expect(gone(keyOf(n), n)[0]).toBe(n)
        } else {
          const target = tickets[one.at]
          if (!target) continue
          const line = waiting.get(target.key) ?? []
          expect(queue.cancel(target.ticket)).toBe(line.includes(target.n))
          gone(target.key, target.n)
        }
      }
      let left = [...waiting.values()].flat().length
      while (queue.pop('moss') !== undefined) left--
      expect([left, queue.size, queue.admitted]).toEqual([0, 0, 0])
    }),
    { numRuns: 300 },
  )
})

test('a single request of the lightest key is served within the bound, however much the others ask', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 10 }),
      fc.nat(5),
      (others, costMax, ahead) => {
        const queue = new FairQueue<string, string>()
        queue.allowance = ahead * costMax
        const top = () => {
          for (let k = 0; k < others; k++) {
            if (queue.admit(`k${k}`, 4) === undefined) queue.push('moss', `k${k}`, costMax, 'heavy')
          }
        }
        for (let i = 0; i < 20; i++) top()
        for (let i = 0; i < 10; i++) queue.pop('moss')
        queue.admit('light', 0.5)
        queue.push('moss', 'light', costMax, 'light')
        // Due at the virtual time of its arrival: before it go the allowance and at most two items of each other key.
        let pops = 0
        do {
          top()
          pops++
        } while (queue.pop('moss') !== 'light')
        expect(pops).toBeLessThanOrEqual(ahead + 2 * others + 1)
      },
    ),
  )
})
