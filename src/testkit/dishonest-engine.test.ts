import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '#engines'
import { systemRuntime } from '#runtime'
import { writeRandomModel } from '../../tools/demo-model/random-model.ts'
import { openLlamaEngine } from '../engines/llama/open-llama-engine.ts'
import { answer, check, scoreOf } from '../engines/llama/test-answers.ts'
import { type Cheat, DishonestEngine } from './dishonest-engine.ts'
import { demoModelPath } from './neighbourhood.ts'
import { temporaryFolder } from './temporary-folder.ts'

const folder = temporaryFolder()
const open = (file: string) =>
  openLlamaEngine({
    models: [{ name: 'demo', path: file }],
    threads: 1,
    runtime: systemRuntime,
    log: { info() {}, warn() {} },
  })
let honest: Awaited<ReturnType<typeof open>>
let other: Awaited<ReturnType<typeof open>>
beforeAll(async () => {
  const file = path.join(folder.path, 'other.gguf')
  writeRandomModel(file, { dim: 64, layers: 2, heads: 4, kvHeads: 2, ff: 128, context: 2048, seed: 5, quant: 'q8_0' })
  ;[honest, other] = await Promise.all([open(demoModelPath), open(file)])
})
afterAll(async () => {
  await Promise.all([honest, other].map((engine) => engine[Symbol.asyncDispose]()))
  folder[Symbol.dispose]()
})

const ask = (engine: Engine, content: string) =>
  answer(engine as typeof honest, { model: 'demo', content, request: { temperature: 0 } })
const textOf = ({ tokens }: Awaited<ReturnType<typeof ask>>) =>
  Buffer.concat(tokens.map(({ piece }) => piece)).toString()

test.each<[string, () => Cheat, string]>([
  ['that computes with another model', () => ({ kind: 'substitute', other }), 'another text'],
  ['that stops early', () => ({ kind: 'stops_early', tokens: 2 }), 'ab'],
  ['that edits what it sends', () => ({ kind: 'edits' }), 'bcde'],
  ['that answers from a cache', () => ({ kind: 'caches' }), 'hgfe'],
])('a worker %s gives a false answer, and a check of it says so', async (_, cheat, text) => {
  const cheater = new DishonestEngine(honest, { cheat: cheat(), rate: 0.5 })
  expect(textOf(await ask(cheater, 'echo hgfe'))).toBe('hgfe')
  const given = await ask(cheater, 'echo abcd')
  expect(textOf(given)).not.toBe('abcd')
  if (text !== 'another text') expect(textOf(given)).toBe(text)
  const evidence = await check(honest, given)
  const { mean, worst, ending } = scoreOf(evidence)
  expect(evidence.wrongPieces.length > 0 || mean > 0.25 || worst > 2 || ending > 2).toBe(true)
})
