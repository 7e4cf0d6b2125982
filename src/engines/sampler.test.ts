import { createCipheriv } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { candidatesOf, chacha20Block, choiceKey, chooseToken, gumbelNoise, type SamplerSettings } from './sampler.ts'

const vectors = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../spec/vectors/sampler/${name}.json`, import.meta.url), 'utf8'))
const hex = (text: string) => Buffer.from(text, 'hex')
const plain: SamplerSettings = { temperature: 1, topP: 1, presencePenalty: 0, frequencyPenalty: 0, bias: new Map() }
const none = new Map<number, number>()
const numbers = (members: Record<string, number>) => new Map(Object.entries(members).map(([id, n]) => [Number(id), n]))

test('the dice are ChaCha20 as RFC 8439 has it', () => {
  for (const { name, key, counter, nonce, block } of vectors('chacha20')) {
    const words = chacha20Block(hex(key), counter, hex(nonce))
    expect(Buffer.from(words.buffer).toString('hex'), name).toBe(block)
  }
})

test('the dice agree with OpenSSL', () => {
  const bytes = (length: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array))
  fc.assert(
    fc.property(bytes(32), fc.nat({ max: 0xffff_ffff }), bytes(12), (key, counter, nonce) => {
      const start = Buffer.alloc(4)
      start.writeUInt32LE(counter)
      const stream = createCipheriv('chacha20', key, Buffer.concat([start, nonce])).update(Buffer.alloc(64))
      expect(Buffer.from(chacha20Block(key, counter, nonce).buffer).equals(stream)).toBe(true)
    }),
  )
})

test('each choice has its own key', () => {
  for (const { seed, choice, key } of vectors('key')) expect(choiceKey(hex(seed), choice).toString('hex')).toBe(key)
})

test('another implementation throws the same dice', () => {
  for (const { key, position, id, noise } of vectors('noise')) {
    expect(Math.abs(gumbelNoise(hex(key), position, id) - noise)).toBeLessThan(1e-12)
  }
})

test('another implementation chooses the same tokens', () => {
  const { logits, cases } = vectors('choose')
  for (const one of cases) {
    const bias = numbers(one.logit_bias)
    const all = logits[one.logits].map(([id, logit]: [number, number]) => ({ id, logit }))
    const settings = {
      temperature: one.temperature,
      topP: one.top_p,
      presencePenalty: one.presence_penalty,
      frequencyPenalty: one.frequency_penalty,
      bias,
    }
    const key = choiceKey(hex(one.seed), one.choice)
    const token = chooseToken(candidatesOf(all, bias), settings, numbers(one.counts), key, one.position)
    expect(token, one.name).toBe(one.token)
  }
})

/** Chi-square of observed counts against probabilities. */
function chiSquare(observed: readonly number[], probabilities: readonly number[]): number {
  const total = observed.reduce((sum, n) => sum + n, 0)
  return observed.reduce((sum, n, i) => {
    const expected = total * (probabilities[i] ?? 0)
    return expected === 0 ? sum : sum + (n - expected) ** 2 / expected
  }, 0)
}

function softmax(logits: readonly number[], temperature: number): number[] {
  const weights = logits.map((logit) => Math.exp(logit / temperature))
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => weight / sum)
}

/** How often each of the tokens 0 … is chosen over many positions of one answer. */
function draw(logits: readonly number[], settings: SamplerSettings, draws = 20_000): number[] {
  const candidates = logits.map((logit, id) => ({ id, logit }))
  const key = choiceKey(Buffer.alloc(32, 9), 0)
  const counts = logits.map(() => 0)
  for (let position = 0; position < draws; position++) {
    const id = chooseToken(candidates, settings, none, key, position)
    counts[id] = (counts[id] ?? 0) + 1
  }
  return counts
}

const logits = [1.2, 0.3, -0.5, 2.1, 0, -1.4, 0.9, 1.8]

// 99.99 % quantile of chi-square with 7 degrees of freedom: 29.9. The seed is fixed, so these never fail by chance.
test.each([0.5, 1, 2])('at temperature %s tokens come as often as the model says', (temperature) => {
  expect(chiSquare(draw(logits, { ...plain, temperature }), softmax(logits, temperature))).toBeLessThan(29.9)
})

test('top_p keeps the smallest set that is likely enough, in the right proportions', () => {
  const kept = [3, 7, 0, 6]
  const sum = kept.reduce((total, id) => total + (softmax(logits, 1)[id] ?? 0), 0)
  expect(sum - (softmax(logits, 1)[6] ?? 0)).toBeLessThan(0.8)
  expect(sum).toBeGreaterThan(0.8)
  const counts = draw(logits, { ...plain, topP: 0.8 })
  const expected = softmax(logits, 1).map((p, id) => (kept.includes(id) ? p / sum : 0))
  expect(counts.every((n, id) => n === 0 || kept.includes(id))).toBe(true)
  expect(chiSquare(counts, expected)).toBeLessThan(29.9)
})

test('neighbouring positions, tokens and choices have independent dice', () => {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const key = choiceKey(Buffer.alloc(32, 3), 0)
  const noise = Array.from({ length: 4_000 }, (_, i) => gumbelNoise(key, i, 5))
  const partners = [
    noise.map((_, i) => gumbelNoise(key, i + 1, 5)),
    noise.map((_, i) => gumbelNoise(key, i, 6)),
    noise.map((_, i) => gumbelNoise(choiceKey(Buffer.alloc(32, 3), 1), i, 5)),
  ]
  expect(Math.abs(mean(noise) - 0.5772)).toBeLessThan(0.1)
  for (const other of partners) {
    const covariance = mean(noise.map((value, i) => (value - mean(noise)) * ((other[i] ?? 0) - mean(other))))
    expect(Math.abs(covariance / (Math.PI ** 2 / 6))).toBeLessThan(0.06)
  }
})

const anyLogits = fc.array(fc.double({ min: -30, max: 30, noNaN: true }), { minLength: 1, maxLength: 90 })
const anySettings = fc.record({
  temperature: fc.double({ min: 0, max: 2, noNaN: true }),
  topP: fc.double({ min: 0, max: 1, noNaN: true }),
  presencePenalty: fc.double({ min: -2, max: 2, noNaN: true }),
  frequencyPenalty: fc.double({ min: -2, max: 2, noNaN: true }),
})

test('the order in which an engine lists its logits and a constant added to them change nothing', () => {
  fc.assert(
    fc.property(anyLogits, anySettings, fc.nat(10_000), (values, settings, position) => {
      // Multiples of 1/64 stay exact when the constant is added.
      const all = values.map((value, id) => ({ id, logit: Math.round(value * 64) / 64 }))
      const moved = all.map(({ id, logit }) => ({ id, logit: logit - 40 })).reverse()
      const key = Buffer.alloc(32, 1)
      const choose = (list: typeof all) =>
        chooseToken(candidatesOf(list, none), { ...settings, bias: none }, none, key, position)
      expect(choose(moved)).toBe(choose(all))
    }),
  )
})

test('whatever is asked, the token is one of the candidates', () => {
  fc.assert(
    fc.property(anyLogits, anySettings, (values, settings) => {
      const candidates = candidatesOf(
        values.map((logit, id) => ({ id, logit })),
        none,
      )
      const token = chooseToken(candidates, { ...settings, bias: none }, none, Buffer.alloc(32), 7)
      expect(candidates.map(({ id }) => id)).toContain(token)
      expect(candidates.length).toBeLessThanOrEqual(64)
    }),
  )
})

test('a token that the model rules out is not chosen at any temperature', () => {
  const candidates = [
    { id: 0, logit: 0 },
    { id: 1, logit: Number.NEGATIVE_INFINITY },
  ]
  for (let position = 0; position < 500; position++) {
    expect(chooseToken(candidates, { ...plain, temperature: 2 }, none, Buffer.alloc(32), position)).toBe(0)
  }
})
