import { describe, expect, test } from 'vitest'
import { seededNumbers } from '../../tools/demo-model/seeded-numbers.ts'
import { choiceMargin } from './choice-margin.ts'
import { type Candidate, candidatesOf, choiceKey, chooseToken, type SamplerSettings } from './sampler.ts'

const key = choiceKey(Buffer.alloc(32, 5), 0)
const plain: SamplerSettings = { temperature: 0, topP: 1, presencePenalty: 0, frequencyPenalty: 0, bias: new Map() }
const settings = {
  greedy: plain,
  drawn: { ...plain, temperature: 1 },
  'hot and cut': { ...plain, temperature: 1.5, topP: 0.8 },
  'cold and cut': { ...plain, temperature: 0.4, topP: 0.3 },
  'cut to one': { ...plain, temperature: 1, topP: 0 },
  penalised: { ...plain, temperature: 0.8, presencePenalty: 0.5, frequencyPenalty: 0.7, topP: 0.95 },
  biased: {
    ...plain,
    temperature: 1,
    bias: new Map([
      [3, 4],
      [200, 9],
      [7, -100],
    ]),
  },
} satisfies Record<string, SamplerSettings>

const random = seededNumbers(11)
const logitsOf = (spread: number): Candidate[] =>
  Array.from({ length: 260 }, (_, id) => ({ id, logit: spread * (random() + random() + random() - 1.5) }))
const counts = new Map([
  [1, 2],
  [9, 1],
  [30, 4],
])

describe.each(Object.entries(settings))('an answer drawn with %s settings', (_, given) => {
  const choose = (logits: readonly Candidate[], position: number) =>
    chooseToken(candidatesOf(logits, given.bias), given, counts, key, position)
  const miss = (logits: readonly Candidate[], id: number, position: number) =>
    choiceMargin(logits, id, given, counts, key, position)

  test('the token that is taken misses by nothing, every other by more', () => {
    for (let position = 0; position < 100; position++) {
      const logits = logitsOf(6)
      const taken = choose(logits, position)
      expect(miss(logits, taken, position)).toBe(0)
      expect(miss(logits, (taken + 1 + Math.floor(250 * random())) % 260, position)).toBeGreaterThan(0)
    }
  })

  test('a machine whose logits differ by a little misses by twice that at most', () => {
    for (let position = 0; position < 1_000; position++) {
      const noise = 0.3 * random() ** 2
      const logits = logitsOf(2 + 8 * random())
      const others = logits.map(({ id, logit }) => ({ id, logit: logit + noise * (2 * random() - 1) }))
      expect(miss(logits, choose(others, position), position)).toBeLessThanOrEqual(2 * noise + 1e-9)
    }
  })
})

test('a token outside the nucleus misses, however lucky its noise', () => {
  const given = { ...plain, temperature: 1, topP: 0.5 }
  const logits = [{ id: 0, logit: 5 }, ...Array.from({ length: 100 }, (_, n) => ({ id: n + 1, logit: 0 }))]
  for (let position = 0; position < 200; position++) {
    expect(choiceMargin(logits, 1 + (position % 100), given, new Map(), key, position)).toBeGreaterThan(0.3)
  }
})

test('the 65 largest logits and the chosen one suffice to judge it', () => {
  for (let position = 0; position < 200; position++) {
    const logits = logitsOf(6).sort((a, b) => b.logit - a.logit)
    const chosen = logits[position]?.id ?? 0
    const few = logits.filter(({ id }, rank) => rank < 65 || id === chosen)
    for (const given of [settings.drawn, settings['hot and cut']]) {
      const judge = (some: readonly Candidate[]) => choiceMargin(some, chosen, given, counts, key, position)
      expect(judge(few)).toBe(judge(logits))
    }
  }
})
