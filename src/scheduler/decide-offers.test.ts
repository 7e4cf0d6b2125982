import fc from 'fast-check'
import { expect, test } from 'vitest'
import { memoryFor } from '#protocol'
import {
  decideOffers,
  noOffers,
  type OfferableModel,
  type OfferableWorker,
  type OfferRule,
  type OfferState,
  type OpenOffer,
  offerEnded,
} from './decide-offers.ts'

const second = 1_000
const rule: OfferRule = {
  tierWorkers: 1,
  hotSpare: 1,
  lackMs: 30 * second,
  settleMs: 30 * second,
  idleMs: 30 * second,
  coolMs: 600 * second,
  awayMs: 120 * second,
  offerMsMax: 3_600 * second,
  offersMax: 4,
}
const file = (name: string, bytes = 1_000): OfferableModel => ({ name, digest: `digest of ${name}`, bytes })
const library = [file('moss'), file('fern'), file('oak', 9_000)]
const tiers = [
  { name: 'small', models: ['moss', 'fern'] },
  { name: 'large', models: ['oak'] },
]
const plenty = { diskBytes: 100_000, memoryBytes: memoryFor(100_000) }
const worker = (id: string, more: Partial<OfferableWorker> = {}): OfferableWorker => ({
  id,
  models: [],
  full: false,
  trusted: true,
  room: plenty,
  held: [],
  idleSince: 0,
  fetching: false,
  ...more,
})
const lender = (id: string, ...models: string[]) => worker(id, { models, room: undefined })

/** A pool with one tier, told about its workers at several moments (seconds). */
class Told {
  state: OfferState = noOffers
  readonly #rule: OfferRule

  constructor(more: Partial<OfferRule> = {}) {
    this.#rule = { ...rule, ...more }
  }

  at(seconds: number, ...workers: OfferableWorker[]): string[] {
    const world = { tiers: tiers.slice(0, 1), library, workers, rule: this.#rule }
    const { state, send, withdraw } = decideOffers(this.state, world, seconds * second)
    this.state = state
    return [
      ...send.map(({ worker, model, again }) => `${again ? 'again ' : ''}${model.name} to ${worker}`),
      ...withdraw.map(({ worker, why }) => `not ${worker}: ${why}`),
    ]
  }
}

test('a tier that hangs on one worker for half a minute gets a hot spare: its first model, to the idle worker', () => {
  const pool = new Told()
  const ada = lender('ada', 'fern')
  expect(pool.at(0, ada, worker('bob'))).toEqual([])
  expect(pool.at(29, ada, worker('bob'))).toEqual([])
  expect(pool.at(30, ada, worker('bob'))).toEqual(['moss to bob'])
  expect(pool.at(31, ada, worker('bob', { fetching: true }))).toEqual([])
  expect(pool.at(40, ada, worker('bob', { models: ['moss'] }))).toEqual([])
  expect(pool.state.open.size).toBe(0)
})

test('a worker that only connects again makes nobody fetch anything', () => {
  const pool = new Told()
  const ada = lender('ada', 'moss')
  const carla = lender('carla', 'moss')
  for (let at = 0; at < 600; at += 20) {
    expect(pool.at(at, ada, worker('bob'))).toEqual([])
    expect(pool.at(at + 10, ada, carla, worker('bob'))).toEqual([])
  }
})

test('an offer is withdrawn when the lack has been gone for a while, and not for a moment', () => {
  const pool = new Told()
  const [ada, carla] = [lender('ada', 'moss'), lender('carla', 'moss')]
  const bob = worker('bob', { fetching: true })
  pool.at(0, ada, worker('bob'))
  expect(pool.at(30, ada, worker('bob'))).toEqual(['moss to bob'])
  expect(pool.at(31, ada, carla, bob)).toEqual([])
  expect(pool.at(50, ada, bob)).toEqual([])
  expect(pool.at(70, ada, carla, bob)).toEqual([])
  expect(pool.at(100, ada, carla, bob)).toEqual(['not bob: settled'])
})

test('a worker that leaves while it fetches goes on when it comes back, and is replaced when it does not', () => {
  const pool = new Told()
  const ada = lender('ada', 'moss')
  pool.at(0, ada, worker('bob'))
  pool.at(30, ada, worker('bob'))
  expect(pool.at(40, ada, worker('carla'))).toEqual([])
  expect(pool.at(60, ada, worker('bob'), worker('carla'))).toEqual(['again moss to bob'])
  expect(pool.at(70, ada, worker('carla'))).toEqual([])
  expect(pool.at(190, ada, worker('carla'))).toEqual(['moss to carla', 'not bob: gone'])
})

test('who has refused is not asked again for ten minutes; somebody else is', () => {
  const pool = new Told()
  const ada = lender('ada', 'moss')
  pool.at(0, ada, worker('bob'))
  pool.at(30, ada, worker('bob'))
  pool.state = offerEnded(pool.state, 'bob')
  expect(pool.at(31, ada, worker('bob'))).toEqual([])
  expect(pool.at(32, ada, worker('bob'), worker('carla'))).toEqual(['moss to carla'])
  pool.state = offerEnded(pool.state, 'carla')
  expect(pool.at(629, ada, worker('bob'), worker('carla'))).toEqual([])
  expect(pool.at(631, ada, worker('bob'), worker('carla'))).toEqual(['moss to bob'])
})

test.each<[string, Partial<OfferableWorker>]>([
  ['is busy', { idleSince: undefined }],
  ['was busy a moment ago', { idleSince: 25 * second }],
  ['does not take models', { room: undefined }],
  ['has no disk', { room: { ...plenty, diskBytes: 999 } }],
  ['has no memory', { room: { ...plenty, memoryBytes: memoryFor(1_000) - 1 } }],
  ['is frozen, suspected or fails', { trusted: false }],
  ['is still at something', { fetching: true }],
  ['lends it already', { models: ['fern'] }],
])('a worker that %s is not asked', (_, more) => {
  const pool = new Told({ tierWorkers: 3 })
  pool.at(0, worker('bob', more))
  expect(pool.at(30, worker('bob', more))).toEqual([])
})

test('a worker takes the model it has room for', () => {
  const world = { tiers: [{ name: 'any', models: ['oak', 'moss'] }], library, rule: { ...rule, lackMs: 0 } }
  const small = worker('bob', { room: { diskBytes: 2_000, memoryBytes: plenty.memoryBytes } })
  expect(decideOffers(noOffers, { ...world, workers: [small] }, 60 * second).send).toMatchObject([
    { worker: 'bob', model: { name: 'moss' } },
  ])
})

test('workers that are full count as needed: a busy tier is given more of them', () => {
  const pool = new Told({ lackMs: 0 })
  const busy = { ...lender('ada', 'moss'), full: true }
  const spare = lender('carla', 'moss')
  expect(pool.at(60, busy, spare, worker('bob'))).toEqual([])
  expect(pool.at(61, busy, { ...spare, full: true }, worker('bob'))).toEqual(['moss to bob'])
})

test('a worker that is watched while it fetches does not learn of it; the tier gets another one beside it', () => {
  const pool = new Told({ lackMs: 0, hotSpare: 0 })
  expect(pool.at(60, worker('bob'))).toEqual(['moss to bob'])
  expect(pool.at(61, worker('bob', { trusted: false, fetching: true }), worker('carla'))).toEqual([])
  const bob = worker('bob', { trusted: false, models: ['moss'] })
  expect(pool.at(62, bob, worker('carla'))).toEqual(['moss to carla'])
})

test('a worker without room gives up a model whose tier has one too many, once that has lasted', () => {
  const library = [file('moss'), file('oak', 100_000)]
  const world = { tiers, library, rule: { ...rule, hotSpare: 0, tierWorkers: 1 } }
  const room = { diskBytes: 99_500, memoryBytes: plenty.memoryBytes }
  const bob = worker('bob', { models: ['moss'], room, held: [file('moss')] })
  const at = (state: OfferState, seconds: number, ...others: OfferableWorker[]) =>
    decideOffers(state, { ...world, workers: [bob, ...others] }, seconds * second)
  let { state, send } = at(noOffers, 0)
  for (let now = 0; now < 300; now += 10) ({ state, send } = at(state, now))
  expect(send, 'the small tier would lack one').toEqual([])
  const ada = lender('ada', 'moss')
  for (let now = 300; now < 330; now += 10) {
    ;({ state, send } = at(state, now, ada))
    expect(send).toEqual([])
  }
  ;({ state, send } = at(state, 330, ada))
  expect(send).toMatchObject([{ worker: 'bob', model: { name: 'oak' }, drop: [{ name: 'moss' }] }])
})

test('two workers never give up the model of which there is one too many', () => {
  const library = [file('oak', 100_000)]
  const world = { tiers, library, rule: { ...rule, hotSpare: 1, tierWorkers: 1, settleMs: 0, lackMs: 0 } }
  const room = { diskBytes: 99_500, memoryBytes: plenty.memoryBytes }
  const workers = ['bob', 'carla', 'dora'].map((id) => worker(id, { models: ['moss'], room, held: [file('moss')] }))
  expect(decideOffers(noOffers, { ...world, workers }, 60 * second).send).toHaveLength(1)
})

// --- whatever happens ---

type Step = {
  readonly seconds: number
  readonly who: number
  readonly what: 'go' | 'come' | 'busy' | 'idle' | 'refuse' | 'done'
}
const step: fc.Arbitrary<Step> = fc.record({
  seconds: fc.integer({ min: 0, max: 90 }),
  who: fc.integer({ min: 0, max: 5 }),
  what: fc.constantFrom('go', 'come', 'busy', 'idle', 'refuse', 'done'),
})

const holders = fc.array(fc.boolean(), { minLength: 6, maxLength: 6 })

/** Six workers with little room that come, go, work, refuse and finish as they like; one of them lends its own from the start. */
class Town {
  now = 0
  state: OfferState = noOffers
  readonly workers
  readonly sent: { worker: string; at: number; again: boolean }[] = []
  withdrawn = 0
  dropped = 0

  /** `holders`: who has one of the small models from the pool already. */
  constructor(holders: readonly boolean[]) {
    this.workers = holders.map((holds, n) => ({
      ...worker(`w${n}`, { models: n === 0 ? ['moss'] : holds ? ['fern'] : [] }),
      ...withHeld(n > 0 && holds ? [file('fern')] : []),
      here: true,
    }))
  }

  do({ seconds, who, what }: Step): void {
    this.now += seconds * second
    const one = this.workers[who]
    if (!one) return
    const offer = this.state.open.get(one.id)
    const change: Partial<typeof one> = {
      go: { here: false, fetching: false },
      come: { here: true },
      busy: { idleSince: undefined },
      idle: { idleSince: one.idleSince ?? this.now },
      refuse: { fetching: false },
      done: one.fetching && offer ? this.#take(one, offer) : {},
    }[what]
    if (what === 'refuse' && one.fetching) this.state = offerEnded(this.state, one.id)
    this.workers[who] = { ...one, ...change }
    this.decide()
  }

  #take({ models, held }: OfferableWorker, { model, drop }: OpenOffer) {
    this.dropped += drop.length
    const gone = (name: string) => drop.some((old) => old.name === name)
    const kept = withHeld([...held.filter(({ name }) => !gone(name)), model])
    expect(kept.room.diskBytes, 'more than it has room for').toBeGreaterThanOrEqual(0)
    return { fetching: false, models: [...models.filter((name) => !gone(name)), model.name], ...kept }
  }

  decide(): void {
    const workers = this.workers.filter(({ here }) => here)
    const before = tiers.map((tier) => spared(tier.models, workers, []))
    const { state, send, withdraw } = decideOffers(this.state, { tiers, library, workers, rule }, this.now)
    this.state = state
    const drops = [...state.open.values()].filter(({ since }) => since === this.now)
    for (const [n, tier] of tiers.entries()) {
      const after = spared(tier.models, workers, drops)
      if (after < (before[n] ?? 0)) expect(after, `${tier.name} would lack one`).toBeGreaterThanOrEqual(0)
    }
    for (const { worker: id } of withdraw) this.#set(id, false)
    for (const { worker: id, again } of send) {
      this.sent.push({ worker: id, at: this.now, again })
      expect(workers.find((one) => one.id === id)?.fetching, 'it had something open').toBe(false)
      this.#set(id, true)
    }
    this.withdrawn += withdraw.length
    expect(new Set(send.map(({ worker: id }) => id)).size, 'one worker was sent two offers').toBe(send.length)
    expect(state.open.size).toBeLessThanOrEqual(rule.offersMax)
  }

  #set(id: string, fetching: boolean): void {
    const at = this.workers.findIndex((one) => one.id === id)
    const one = this.workers[at]
    if (one) this.workers[at] = { ...one, fetching }
  }
}

/** Room for 9,500 bytes of models from the pool: one large one, or some small ones. */
function withHeld(held: readonly OfferableModel[]) {
  const taken = held.reduce((sum, { bytes }) => sum + bytes, 0)
  return { held, room: { diskBytes: 9_500 - taken, memoryBytes: plenty.memoryBytes } }
}

/** Workers a tier has beyond those it wishes for, once these offers have taken theirs away. */
function spared(models: readonly string[], workers: readonly OfferableWorker[], offers: readonly OpenOffer[]): number {
  const lending = workers.filter((one) => one.models.some((name) => models.includes(name))).length
  const leaving = offers.filter(({ drop }) => drop.some(({ name }) => models.includes(name))).length
  return lending - leaving - rule.tierWorkers - rule.hotSpare
}

test('no worker has two offers, or a new one within ten minutes, whatever workers do', () => {
  fc.assert(
    fc.property(holders, fc.array(step, { maxLength: 120 }), (held, steps) => {
      const town = new Town(held)
      for (const one of steps) town.do(one)
      for (const { id } of town.workers) {
        const fresh = town.sent.filter((offer) => offer.worker === id && !offer.again).map(({ at }) => at)
        for (const [n, at] of fresh.entries())
          if (n > 0) expect(at - (fresh[n - 1] ?? 0)).toBeGreaterThanOrEqual(rule.coolMs)
      }
    }),
  )
})

test('when workers stop coming and going the pool comes to rest, and offers and withdraws nothing more', () => {
  let dropped = 0
  fc.assert(
    fc.property(holders, fc.array(step, { maxLength: 60 }), (held, steps) => {
      const town = new Town(held)
      for (const one of steps) town.do(one)
      for (let n = 0; n < 6; n++) town.do({ seconds: 1, who: n, what: 'come' })
      for (let n = 0; n < 6; n++) town.do({ seconds: 1, who: n, what: 'idle' })
      // an hour in which everybody takes what he is offered
      for (let n = 0; n < 120; n++) town.do({ seconds: 30, who: n % 6, what: 'done' })
      const [sent, withdrawn] = [town.sent.length, town.withdrawn]
      for (let n = 0; n < 120; n++) town.do({ seconds: 30, who: n % 6, what: 'done' })
      expect([town.sent.length, town.withdrawn]).toEqual([sent, withdrawn])
      dropped += town.dropped
    }),
    { numRuns: 40, seed: 5 },
  )
  expect(dropped, 'models that made room for others').toBeGreaterThan(0)
})
