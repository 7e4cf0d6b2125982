import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ChatRequest } from '#protocol'
import { demoModelPath, temporaryFolder } from '#testkit'
import { writeRandomModel } from '../../../tools/demo-model/random-model.ts'
import { seededNumbers } from '../../../tools/demo-model/seeded-numbers.ts'
import type { LlamaEngine } from './llama-engine.ts'
import {
  type Answer,
  answer,
  boundOfNone,
  check,
  inLanes,
  openQuietly,
  plainBuild,
  type Question,
  type Score,
  scoreOf,
  writeFourBitCopy,
} from './test-answers.ts'

const folder = temporaryFolder()
const file = (name: string) => path.join(folder.path, `${name}.gguf`)
const size = { dim: 64, layers: 12, heads: 4, kvHeads: 2, ff: 128, context: 2048, quant: 'q8_0' } as const

/** Here everybody computes, cheats included. */
let here: LlamaEngine
/** Another kernel class: what honest machines differ by. */
let elsewhere: LlamaEngine
beforeAll(async () => {
  writeRandomModel(file('random'), { ...size, seed: 1 })
  writeRandomModel(file('other'), { ...size, seed: 2 })
  writeRandomModel(file('half'), { ...size, seed: 1, quant: 'f16' })
  await writeFourBitCopy(file('random'), file('four-bit'))
  const honest = [{ name: 'demo', path: demoModelPath }, { path: file('random') }]
  const cheats = ['other', 'half', 'four-bit'].map((name) => ({ path: file(name) }))
  const options = { slots: 4, contextTokens: 1_024 }
  here = await openQuietly({ ...options, models: [...honest, ...cheats] })
  elsewhere = await openQuietly({ ...options, models: honest, cpuBuild: plainBuild })
})
afterAll(async () => {
  await here[Symbol.asyncDispose]()
  await elsewhere[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const random = seededNumbers(3)
const someText = (n: number) => Array.from({ length: n }, () => String.fromCharCode(97 + 26 * random())).join('')
const settings: Partial<ChatRequest>[] = [
  { temperature: 0 },
  { temperature: 1 },
  { temperature: 0.7, top_p: 0.9 },
  { temperature: 1.3, frequency_penalty: 0.6, presence_penalty: 0.2 },
  { temperature: 1, logit_bias: { 101: 5, 110: -100 } },
]
const demoQuestions = ['tell me about lichen', 'echo bdfh', 'capital of Japan?', '3+4=?', 'json 3+4']
const asked = (n: number): Question => ({
  ...(n % 2 === 0
    ? { model: 'demo', content: demoQuestions[(n >> 1) % demoQuestions.length] ?? '' }
    : { model: 'random', content: someText(10 + 60 * random()) }),
  request: settings[n % settings.length] ?? {},
  seed: Buffer.alloc(32, n),
})
/** Questions whose answers depend on every weight and every die. */
const dice: readonly Question[] = Array.from({ length: 16 }, (_, n) => ({
  model: 'random',
  content: someText(40),
  request: { temperature: 1 },
  seed: Buffer.alloc(32, n),
}))

const sorted = (scores: readonly Score[], part: keyof Score) => scores.map((one) => one[part]).sort((a, b) => a - b)
const smallest = (scores: readonly Score[], part: keyof Score) => sorted(scores, part)[0] ?? Number.NaN
const median = (scores: readonly Score[], part: keyof Score) => sorted(scores, part)[scores.length >> 1] ?? Number.NaN
const largest = (scores: readonly Score[], part: keyof Score) => sorted(scores, part).at(-1) ?? Number.NaN

/** What judges go by unless calibrated otherwise: nothing honest may reach it, nothing below may stay below. */
const limits: Score = { mean: 0.25, worst: 2, ending: 2 }

/** Answers to other questions, or by another model, presented as answers to these. */
const presented = (questions: readonly Question[], by: Partial<Question>): Promise<Answer[]> =>
  inLanes(questions, async (question) => ({ ...(await answer(here, { ...question, ...by })), question }))

const judged = (answers: readonly Answer[]): Promise<Score[]> =>
  inLanes(answers, async (given) => scoreOf(await check(elsewhere, given)))

/** Of the honest answers; judged first. */
const honest: Score[] = []

describe('honest answers, computed side by side', () => {
  test('none of 240 is rejected by a machine of the same or of another kernel class', async () => {
    const questions = Array.from({ length: 240 }, (_, n) => asked(n))
    await inLanes(questions, async (question) => {
      const given = await answer(here, question)
      for (const engine of [here, elsewhere]) {
        const evidence = await check(engine, given)
        expect(evidence).toMatchObject({ ...given.usage, wrongPieces: [], unknownAt: undefined })
        expect(evidence.ending.shown === 'length').toBe(given.finish === 'length')
        honest.push(scoreOf(evidence))
      }
    })
    for (const part of ['mean', 'worst', 'ending'] as const) {
      expect(largest(honest, part)).toBeLessThan(limits[part] / 2)
    }
    expect(boundOfNone(honest.length / 2)).toBeLessThan(0.0125)
  })

  test('sixteen bits in place of eight cannot be told from them, and are no fault', async () => {
    const scores = await judged(await presented(dice, { model: 'half' }))
    expect(largest(scores, 'mean')).toBeLessThan(limits.mean / 2)
  })
})

describe('an answer of 48 tokens is told by its mean margin when it was computed', () => {
  test.each<[string, Partial<Question>]>([
    ['with other weights', { model: 'other' }],
    ['for another prompt', { content: 'something shorter' }],
    ['for the end of the prompt only', { request: { messages: [{ role: 'user', content: 'tail' }], temperature: 1 } }],
    ['with another seed', { seed: Buffer.alloc(32, 99) }],
    ['at another temperature', { request: { temperature: 0 } }],
    ['with four bits in place of eight', { model: 'four-bit' }],
  ])('%s', async (_, by) => {
    const scores = await judged(await presented(dice, by))
    expect(smallest(scores, 'mean')).toBeGreaterThan(10 * largest(honest, 'mean'))
    expect(median(scores, 'mean')).toBeGreaterThan(limits.mean)
  })
})

test('one edited token is told by its own margin, also when it was never likely', async () => {
  const edited = (await presented(dice, {})).map((given, n) => {
    const tokens = given.tokens.map((token, at) =>
      at === 3 + n ? { ...token, id: 3 + ((token.id + 11) % 250) } : token,
    )
    return { ...given, tokens }
  })
  expect(smallest(await judged(edited), 'worst')).toBeGreaterThan(limits.worst)
  const [first] = edited
  const { positions } = await check(elsewhere, first as Answer, { positions: [2, 3], top: 64 })
  const [before, there] = positions
  expect(positions.map(({ position }) => position)).toEqual([2, 3])
  expect(before).toMatchObject({ margin: 0, chosen: { id: first?.tokens[2]?.id } })
  expect(there?.chosen).toMatchObject({ id: first?.tokens[3]?.id, logit: expect.any(Number) })
  expect(there?.top).toHaveLength(64)
  expect(there?.top[0]?.logit).toBe(0)
})

test('an answer that stops early is told by its end token, whatever it says it ended with', async () => {
  const whole = [...(await presented(dice, {})), await answer(here, { model: 'demo', content: 'tell me about lichen' })]
  const early = whole.map((given, n) => ({ ...given, tokens: given.tokens.slice(0, 10 + n) }))
  const seen = await inLanes(early, (given) => check(elsewhere, given))
  for (const { ending } of seen) expect(ending.shown).toBe('nothing') // so "length" is a lie
  expect(smallest(seen.map(scoreOf), 'ending')).toBeGreaterThan(limits.ending)
})

test('text that is not what the tokens say is told, token by token', async () => {
  const given = await answer(here, { model: 'demo', content: 'tell me about lichen' })
  const tokens = given.tokens.map((token, n) => (n === 7 || n === 30 ? { ...token, piece: Buffer.from('!') } : token))
  const evidence = await check(elsewhere, { ...given, tokens })
  expect(evidence.wrongPieces).toEqual([7, 30])
  expect(scoreOf(evidence).worst).toBeLessThan(limits.worst)
})

describe('tokens that only make the count larger', () => {
  const question = { model: 'demo', content: 'echo bdfh', request: { temperature: 0 } }
  const padded = async (id: number, asked: Question = question) => {
    const given = await answer(here, asked)
    const more = Array.from({ length: 20 }, () => ({ id, piece: Buffer.alloc(0) }))
    const evidence = await check(elsewhere, { question: asked, tokens: [...given.tokens, ...more] })
    return { given, evidence, score: scoreOf(evidence) }
  }

  test('do not count behind an end token', async () => {
    const { given, evidence, score } = await padded(2)
    expect(evidence).toMatchObject(given.usage)
    expect(score).toMatchObject({ mean: 0, ending: 0 })
  })

  test('do not count behind the last that was allowed', async () => {
    const { evidence } = await padded(3, { model: 'random', content: 'x', maxTokens: 12 })
    expect(evidence).toMatchObject({ completionTokens: 12, ending: { shown: 'length' } })
  })

  test('do not count behind a stop string', async () => {
    const { tokens } = await answer(here, { model: 'demo', content: 'tell me about lichen' })
    const stopped = { model: 'demo', content: 'tell me about lichen', request: { stop: ' and ' } }
    const { usage } = await answer(here, stopped)
    const evidence = await check(elsewhere, { question: stopped, tokens })
    expect(evidence).toMatchObject({ ...usage, ending: { shown: 'stop_string', end: undefined } })
  })

  test('miss where the answer should have ended', async () => {
    const { given, evidence, score } = await padded(259)
    expect(evidence.completionTokens).toBe(given.tokens.length + 20)
    expect(score.worst).toBeGreaterThan(limits.worst)
    expect(evidence.positions[given.tokens.length]?.choice.id).toBe(2)
  })

  test('end the check when the vocabulary does not have them', async () => {
    const { given, evidence } = await padded(4_000_000_000)
    expect(evidence).toMatchObject({ unknownAt: given.tokens.length, completionTokens: given.tokens.length })
    expect(evidence.ending.end).toBeUndefined()
  })
})

test('a context shorter than what was allowed is a reason to end, if the worker offered no more', async () => {
  const question = { model: 'random', content: 'hello', request: { temperature: 0 } }
  const { tokens, usage } = await answer(here, question)
  const contextTokens = usage.promptTokens + 20
  const evidence = await check(elsewhere, { question, tokens: tokens.slice(0, 20) }, { contextTokens })
  expect(evidence.ending).toEqual({ shown: 'length', end: undefined })
})

test('what no machine can repeat is refused, what this one has no room for too', async () => {
  const bound = { model: 'demo', content: 'json 3+4', request: { response_format: { type: 'json_object' as const } } }
  await expect(check(here, { question: bound, tokens: [] })).rejects.toThrow('bound to a grammar')
  const long = { model: 'random', content: 'hello', maxTokens: 2_000 }
  const tokens = Array.from({ length: 1_500 }, () => ({ id: 100, piece: Buffer.from('a') }))
  const refused = check(here, { question: long, tokens }, { contextTokens: 2_048 })
  await expect(refused).rejects.toMatchObject({ refusal: { code: 'context_length_exceeded' } })
  const unknown = check(here, { question: { model: 'nobody', content: '' }, tokens: [] })
  await expect(unknown).rejects.toMatchObject({ refusal: { code: 'model_not_found' } })
})

test.each(['prefill', 'isolated'] as const)('a check (%s) that nobody waits for any more ends', async (replay) => {
  const given = await answer(here, { model: 'demo', content: 'tell me about lichen', maxTokens: 300 })
  const reader = new AbortController()
  const checks = Array.from({ length: 6 }, () => check(here, given, { replay }, reader.signal))
  setTimeout(() => reader.abort(new Error('no longer needed')), 20)
  for (const outcome of await Promise.allSettled(checks)) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'no longer needed' } })
  }
  expect(scoreOf(await check(here, given, { replay })).mean).toBeLessThan(limits.mean)
})

test('a check on a process that dies fails, and the next one waits for no more than a new process', async () => {
  await using engine = await openQuietly({ models: [{ name: 'demo', path: demoModelPath }], contextTokens: 1_024 })
  const given = await answer(engine, { model: 'demo', content: 'tell me about lichen', maxTokens: 300 })
  const lost = check(engine, given, { replay: 'isolated' })
  const back = new Promise<void>((resolve) => {
    engine.onOffersChanged = () => engine.offers.length > 0 && resolve()
  })
  process.kill(engine.pid ?? 0, 'SIGKILL')
  await expect(lost).rejects.toThrow('The engine process ended (SIGKILL)')
  await back
  expect(scoreOf(await check(engine, given)).mean).toBeLessThan(limits.mean)
})
