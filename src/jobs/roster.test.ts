import { expect, test } from 'vitest'
import type { ModelOffer, WorkerId } from '#protocol'
import { featureBits, WorkerIndex } from '#scheduler'
import { Roster, type RosterWorker, type Trust, type TrustOf } from './roster.ts'

const chat = featureBits(['chat'])
const offer: ModelOffer = { name: 'moss', digest: null, engine: 'llama', contextTokens: 2_048, features: ['chat'] }
const worker = (name: string, more: Partial<RosterWorker> = {}): RosterWorker => ({
  id: name.padEnd(64, '0') as WorkerId,
  offers: [offer],
  slots: 4,
  tokensPerSecond: 0,
  draining: false,
  features: [],
  operator: name,
  ...more,
})

const rosterOf = (...workers: RosterWorker[]) => trustedRoster(undefined, ...workers)

const trustedRoster = (trustOf: TrustOf | undefined, ...workers: RosterWorker[]) => {
  const index = new WorkerIndex()
  const roster = new Roster(index, undefined, trustOf)
  for (const one of workers) roster.put(one)
  const weights = () => workers.map((one) => index.get(one.id)?.weight ?? 0)
  return { index, roster, weights }
}

test('a faster worker weighs more, by the speed of one slot', () => {
  const { weights } = rosterOf(
    worker('slow', { tokensPerSecond: 40 }),
    worker('fast', { tokensPerSecond: 400 }),
    worker('wide', { tokensPerSecond: 400, slots: 40 }),
  )
  expect(weights()).toEqual([0.01, 0.1, 0.01])
})

test('a worker that nothing is known of is taken for a typical one', () => {
  const { weights } = rosterOf(
    ...Array.from({ length: 200 }, (_, n) => worker(`w${n}`, { tokensPerSecond: 800 })),
    worker('new'),
  )
  const [known, unknown] = [weights()[0], weights().at(-1)]
  expect(unknown).toBeCloseTo(known ?? 0, 2)
})

test('each failure in a row halves a worker’s weight, down to a floor; one success restores it', () => {
  const one = worker('one', { tokensPerSecond: 400 })
  const { roster, weights } = rosterOf(one)
  roster.ranWell(one.id, false)
  roster.ranWell(one.id, false)
  expect(weights()).toEqual([0.025])
  for (let i = 0; i < 50; i++) roster.ranWell(one.id, false)
  expect(weights()).toEqual([0.1 / 64])
  roster.ranWell(one.id, true)
  expect(weights()).toEqual([0.1])
})

test('what is known of a worker’s failures survives a change of its offers, not its leaving', () => {
  const one = worker('one', { tokensPerSecond: 400 })
  const { roster, weights } = rosterOf(one)
  roster.ranWell(one.id, false)
  roster.put(one)
  expect(weights()).toEqual([0.05])
  roster.remove(one.id)
  expect(weights()).toEqual([0])
  roster.put(one)
  expect(weights()).toEqual([0.1])
})

test('of two offers with one name the one that can do it is used', () => {
  const rich: ModelOffer = { ...offer, digest: 'd1'.repeat(32), features: ['chat', 'logprobs'] }
  const { index, roster } = rosterOf(worker('one', { offers: [offer, rich] }))
  const id = 'one'.padEnd(64, '0')
  expect(roster.offerFor(id, index.lane('moss', featureBits(['chat', 'logprobs'])))?.offer).toBe(rich)
  expect(roster.offerFor(id, index.lane('moss', chat))?.offer).toBe(offer)
})

const usual: Trust = { weight: 1, runsMax: 1_000, newcomer: false }

test('a trusted worker weighs more than a newcomer, who has two runs at once', () => {
  const newcomer: Trust = { weight: 0.05, runsMax: 2, newcomer: true }
  const words = new Map<string, Trust>()
  const trustOf: TrustOf = (id) => words.get(id) ?? newcomer
  const [old, fresh] = [worker('old', { tokensPerSecond: 400 }), worker('new', { tokensPerSecond: 400 })]
  words.set(old.id, { ...usual, weight: 0.5 })
  const { index, roster, weights } = trustedRoster(trustOf, old, fresh)
  expect(weights().map((weight) => weight.toFixed(3))).toEqual(['0.050', '0.005'])
  expect([index.get(old.id)?.slots, index.get(fresh.id)?.slots]).toEqual([4, 2])
  expect(index.choose(index.lane('moss', chat))).toBe(old.id)
  expect(index.choose(index.lane('moss', chat), { newcomer: true })).toBe(fresh.id)
  words.set(fresh.id, { ...usual, weight: 0.86 })
  expect(roster.trustChanged(fresh.id)).toEqual([fresh.id])
  expect(index.choose(index.lane('moss', chat), { newcomer: true })).toBe(fresh.id)
  expect(index.get(fresh.id)?.slots).toBe(4)
})

test('a frozen worker gets nothing more with any of its models, until it is cleared', () => {
  const words = new Map<string, Trust>()
  const both = worker('both', { offers: [offer, { ...offer, name: 'fern' }] })
  const { index, roster } = trustedRoster((_, model) => words.get(model) ?? usual, both)
  expect(index.lane('moss', chat).size).toBe(1)
  words.set('fern', { weight: 0, runsMax: 0, newcomer: false })
  expect(roster.trustChanged(undefined)).toEqual([])
  expect([index.lane('moss', chat).size, index.lane('fern', chat).size]).toEqual([0, 0])
  words.clear()
  expect(roster.trustChanged(both.id)).toEqual([both.id])
  expect(index.lane('moss', chat).size).toBe(1)
  expect(roster.trustChanged(undefined)).toEqual([])
})

test('whoever has the model from an upstream is asked when those whose work can be seen are full, however fast it is', () => {
  const file = { ...offer, digest: 'f1'.repeat(32) }
  const seen: ModelOffer = { ...offer, features: ['chat', 'continue'] }
  const workers = [
    worker('mute', { slots: 1, tokensPerSecond: 900 }),
    worker('shown', { slots: 1, offers: [seen], tokensPerSecond: 900 }),
    worker('file', { slots: 2, offers: [{ ...file, name: 'fern' }, file], tokensPerSecond: 5 }),
    worker('both', { slots: 1, offers: [file, offer], tokensPerSecond: 5 }),
  ]
  const chosenOf = (trustOf: TrustOf | undefined) => {
    const { index } = trustedRoster(trustOf, ...workers)
    const lane = index.lane('moss', chat)
    return workers.map(() => {
      const id = index.choose(lane) ?? ''
      index.take(id)
      return workers.find((one) => one.id === id)?.operator
    })
  }
  const usual: Trust = { weight: 0.9, runsMax: 9, newcomer: false }
  const ofTier0 = chosenOf(() => usual)
  expect(ofTier0.slice(0, 3).sort()).toEqual(['both', 'file', 'file'])
  expect(ofTier0[3]).toBe('shown')
  // The pool believes its own; and where nobody checks, speed decides.
  const isMute = (id: string) => id === workers[0]?.id
  expect(chosenOf((id) => ({ ...usual, isOwn: isMute(id) }))[0]).toBe('mute')
  expect(chosenOf(undefined).slice(0, 2).sort()).toEqual(['mute', 'shown'])
})
