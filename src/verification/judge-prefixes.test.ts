import { expect, test } from 'vitest'
import { noTokenId } from '#protocol'
import { seededNumbers } from '../../tools/demo-model/seeded-numbers.ts'
import { judgePrefixes, type SeenPrefix } from './judge-prefixes.ts'

/** What an upstream finds likely at a place: ten tokens, and what is left. */
function likely(random: () => number): { ps: number[]; rest: number } {
  const raw = Array.from({ length: 10 }, () => Math.exp(6 * random()))
  const sum = raw.reduce((all, one) => all + one, 0)
  const rest = 0.02
  return { ps: raw.map((one) => ((1 - rest) * one) / sum).sort((a, b) => b - a), rest }
}

const seenAs = ({ ps, rest }: { ps: number[]; rest: number }, id: number): SeenPrefix & { position: number } => {
  const best = ps[0] ?? 1
  const top = ps.map((p, place) => ({ id: place, logit: Math.log(p / best) }))
  const given = ps[id] ?? ps.at(-1) ?? 1
  const all = [...top, { id: noTokenId, logit: Math.log(rest / best) }]
  return { position: 0, margin: Math.log(best / given), top: all, chosen: { id: id < 10 ? id : noTokenId } }
}

/** Whoever draws from these probabilities at a temperature. */
function drawn({ ps, rest }: { ps: number[]; rest: number }, temperature: number, random: () => number): number {
  const weights = [...ps, rest].map((p) => p ** (1 / temperature))
  let at = random() * weights.reduce((all, one) => all + one, 0)
  return weights.findIndex((one) => {
    at -= one
    return at <= 0
  })
}

function look(temperature: number, positions: (SeenPrefix & { position: number })[], end?: SeenPrefix) {
  const evidence = {
    promptTokens: 0,
    completionTokens: positions.length,
    wrongPieces: [],
    unknownAt: undefined,
    positions,
    ending: { shown: 'nothing' as const, end: end && { ...end, position: positions.length } },
  }
  return judgePrefixes(evidence, { finish: 'stop', body: Buffer.from(JSON.stringify({ temperature })) })
}

test('of 2,000 honest answers drawn at any temperature none is a hit, and another model’s answers are', () => {
  const random = seededNumbers(3)
  let caught = 0
  for (let n = 0; n < 2_000; n++) {
    const temperature = [0.3, 0.7, 1][n % 3] ?? 1
    const places = Array.from({ length: 16 }, () => likely(random))
    const honest = places.map((place) => seenAs(place, drawn(place, temperature, random)))
    expect(look(temperature, honest).says).toBe('clean')
    // It takes what this model finds as likely as anything else.
    const other = places.map((place) => seenAs(place, Math.floor(11 * random())))
    if (look(temperature, other).says === 'hit') caught++
  }
  expect(caught).toBeGreaterThan(1_600)
})

test('at temperature 0 another model shows in the mean, an edit in its position, an early end in what would have come', () => {
  const flat = { ps: [0.6, 0.3, 0.05], rest: 0.05 }
  const honest = Array.from({ length: 16 }, () => seenAs(flat, 0))
  expect(look(0, honest)).toMatchObject({ says: 'clean', why: null, score: 0 })
  expect(
    look(
      0,
      honest.map(() => seenAs(flat, 1)),
    ),
  ).toMatchObject({ says: 'hit', why: 'mean' })
  expect(look(0, [...honest.slice(1), seenAs(flat, 2)])).toMatchObject({ says: 'hit', why: 'position' })
  expect(look(0, honest, seenAs(flat, 2))).toMatchObject({ says: 'hit', why: 'ending' })
  expect(look(0, honest, seenAs(flat, 0)).says).toBe('clean')
})

test('above temperature 1 nothing is known of what is not listed: it accuses nobody', () => {
  const place = { ps: [0.9, 0.05], rest: 0.05 }
  expect(
    look(
      1.5,
      Array.from({ length: 16 }, () => seenAs(place, 10)),
    ).says,
  ).toBe('clean')
  expect(
    look(
      1,
      Array.from({ length: 16 }, () => seenAs(place, 10)),
    ).says,
  ).toBe('hit')
})
