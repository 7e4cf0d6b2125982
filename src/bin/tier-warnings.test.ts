import { expect, test } from 'vitest'
import { OfferedModels } from '#api'
import type { ModelOffer } from '#protocol'
import { systemRuntime } from '#runtime'
import { tierWarnings } from './tier-warnings.ts'

const tier = [
  { name: 'small', models: ['qwen-7b', 'llama-8b'] },
  { name: 'large', models: ['qwen-32b'] },
]

const lending = (...names: string[]) => ({
  draining: false,
  offers: names.map((name) => {
    const what = { name, digest: null, engine: 'llama.cpp', contextTokens: 4_096, features: ['chat'] }
    return what as unknown as ModelOffer
  }),
})

test('the owner is told which tier is down and which hangs on one worker, as workers come and go', () => {
  const models = new OfferedModels(systemRuntime)
  models.put({ id: 'a' as never, ...lending('qwen-7b', 'llama-8b') })
  expect(tierWarnings({ tier }, models)).toEqual([
    'Tier small hangs on one worker: add another that lends qwen-7b or llama-8b.',
    'Tier large is down: no worker lends qwen-32b.',
  ])
  // another model of the same tier is a second leg; the same worker with two is not
  models.put({ id: 'b' as never, ...lending('llama-8b', 'qwen-32b') })
  expect(tierWarnings({ tier }, models)).toEqual(['Tier large hangs on one worker: add another that lends qwen-32b.'])
  models.put({ id: 'c' as never, ...lending('qwen-32b') })
  expect(tierWarnings({ tier }, models)).toEqual([])
  models.put({ id: 'b' as never, ...lending('qwen-32b'), draining: true })
  expect(tierWarnings({ tier }, models)).toHaveLength(2)
  models.remove('a')
  expect(tierWarnings({ tier }, models)[0]).toMatch(/^Tier small is down/)
})

test('a pool without tiers is told nothing', () => {
  expect(tierWarnings({ tier: [] }, new OfferedModels(systemRuntime))).toEqual([])
})
