import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoModelPath, temporaryFolder } from '#testkit'
import { writeRandomModel } from '../../../tools/demo-model/random-model.ts'
import type { LlamaEngine } from './llama-engine.ts'
import {
  type Answer,
  answer,
  check,
  inLanes,
  never,
  openQuietly,
  plainBuild,
  type Question,
  scoreOf,
} from './test-answers.ts'

const folder = temporaryFolder()
const file = (name: string) => path.join(folder.path, `${name}.gguf`)
const size = { dim: 64, layers: 4, heads: 4, kvHeads: 2, ff: 128, context: 2048, quant: 'q8_0' } as const

/** Two machines of one kernel class, though one has more threads, and one of another. */
let mine: LlamaEngine
let twin: LlamaEngine
let stranger: LlamaEngine
beforeAll(async () => {
  writeRandomModel(file('random'), { ...size, seed: 1 })
  writeRandomModel(file('other'), { ...size, seed: 2 })
  writeRandomModel(file('wide'), { ...size, dim: 256, ff: 512, seed: 1 })
  const options = { models: [{ name: 'demo', path: demoModelPath }, { path: folder.path }], contextTokens: 1_024 }
  mine = await openQuietly(options)
  twin = await openQuietly({ ...options, threads: 2, slots: 1 })
  stranger = await openQuietly({ ...options, cpuBuild: plainBuild })
})
afterAll(async () => {
  for (const engine of [mine, twin, stranger]) await engine[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

/** More than one batch of prompt, so that the size of batches counts. */
const long = Array.from({ length: 60 }, (_, n) => `${n} lichens`).join(' ')
const questions: readonly Question[] = [
  { model: 'demo', content: 'tell me about lichen', request: { temperature: 0 } },
  { model: 'random', content: 'short', request: { temperature: 0 } },
  { model: 'random', content: long, request: { temperature: 1 }, maxTokens: 24 },
  { model: 'random', content: 'cut', request: { temperature: 1.2, top_p: 0.8, frequency_penalty: 0.5 } },
].map((question) => ({ ...question, isolated: true }))
const ids = ({ tokens }: Answer) => tokens.map(({ id }) => id)
const isolated = { replay: 'isolated' } as const

let answers: Answer[]
test('isolated answers are the same beside other work and after it', async () => {
  const others = Array.from({ length: 24 }, (_, n) => ({ model: 'random', content: `other work ${n}` }))
  const [beside] = await Promise.all([
    inLanes(questions, (question) => answer(mine, question)),
    inLanes(others, (other) => answer(mine, other)),
  ])
  answers = await inLanes(questions, (question) => answer(mine, question))
  expect(answers.map(ids)).toEqual(beside.map(ids))
})

test('a replay on a machine of the same class is exact: every token is the choice, every logit the same', async () => {
  for (const given of answers) {
    const [here, there] = [await check(mine, given, isolated), await check(twin, given, isolated)]
    for (const evidence of [here, there]) {
      expect(evidence.positions.map(({ choice }) => choice.id)).toEqual(ids(given))
      expect(scoreOf(evidence)).toEqual({ mean: 0, worst: 0, ending: 0 })
    }
    expect(there).toEqual(here)
    expect(here.logitsHash).toMatch(/^[0-9a-f]{64}$/)
  }
})

test('on a machine of another class the logits differ, by too little to matter', async () => {
  for (const given of answers) {
    const [here, there] = [await check(mine, given, isolated), await check(stranger, given, isolated)]
    expect(there.logitsHash).not.toBe(here.logitsHash)
    expect(scoreOf(there).worst).toBeLessThan(1)
  }
})

test('an exact replay of some positions is one of all of them', async () => {
  const given = answers[2] as Answer
  const some = await check(mine, given, { ...isolated, positions: [5, 11] })
  expect(some.positions.map(({ position }) => position)).toEqual([5, 11])
  expect(some.logitsHash).toBe((await check(mine, given, isolated)).logitsHash)
})

test('room that an answer did not need changes nothing', async () => {
  const given = answers[2] as Answer
  const roomy = await check(mine, given, { ...isolated, maxTokens: 300 })
  expect(roomy.positions).toEqual((await check(mine, given, isolated)).positions)
})

test('one edited token changes the exact replay', async () => {
  const given = answers[1] as Answer
  const tokens = given.tokens.map((token, n) => (n === 20 ? { ...token, id: token.id === 70 ? 71 : 70 } : token))
  const evidence = await check(mine, { ...given, tokens }, isolated)
  expect(evidence.positions[20]?.choice.id).toBe(given.tokens[20]?.id)
  expect(evidence.logitsHash).not.toBe((await check(mine, given, isolated)).logitsHash)
})

test('an isolated answer begun elsewhere goes on to the same last bit', async () => {
  for (const given of answers) {
    const rest = await answer(twin, { ...given.question, resume: ids(given).slice(0, 10) })
    expect(ids(rest)).toEqual(ids(given).slice(10))
  }
})

const text = 'Kernel calibration 8f3a: the quick brown fox jumps over 61 lazy dogs. '
test('a kernel class is that of model and build, whatever else runs', async () => {
  const [first] = await Promise.all([
    mine.kernelClass('random', text, never),
    answer(mine, { model: 'random', content: 'other work' }),
  ])
  expect(first).toMatch(/^[0-9a-f]{64}$/)
  expect(await mine.kernelClass('random', text, never)).toBe(first)
  expect(await twin.kernelClass('random', text, never)).toBe(first)
  const different = [
    await stranger.kernelClass('random', text, never),
    await mine.kernelClass('other', text, never),
    await mine.kernelClass('random', `${text}!`, never),
  ]
  expect(new Set([first, ...different]).size).toBe(4)
})

// x64 and sse42 differ in the attention to a long text only: up to some 130 tokens their logits are the same.
test.skipIf(process.arch !== 'x64')('builds that differ late are told by a long calibration text', async () => {
  await using sse = await openQuietly({ models: [{ path: file('wide') }], cpuBuild: 'sse42' })
  const long = text.repeat(9).slice(0, 500)
  expect(await sse.kernelClass('wide', long, never)).not.toBe(await stranger.kernelClass('wide', long, never))
})

test('a build that is not installed is named, with those that are', async () => {
  const engine = openQuietly({ models: [{ path: file('random') }], cpuBuild: 'abacus' })
  await expect(engine).rejects.toThrow(/CPU build "abacus", only in: ./)
})

test.each([
  ['too short', 'x'],
  ['too long', 'long text '.repeat(110)],
])('a calibration text that is %s is refused', async (_, text) => {
  await expect(mine.kernelClass('random', text, never)).rejects.toThrow('A calibration text has 17 to 1023 tokens')
})
