import { expect, test } from 'vitest'
import { type FeatureNeed, type PoolError, parseModelName } from '#protocol'
import { simulatedRuntime } from '../../testkit/simulated-runtime.ts'
import { chooseModel } from './choose-model.ts'
import { OfferedModels, type OfferingWorker } from './offered-models.ts'

const a = 'a'.repeat(64)
const b = 'b'.repeat(64)
const offer = (digest: string | null, features: readonly string[], contextTokens = 512) =>
  ({
    name: 'toy',
    digest,
    engine: digest ? 'llama' : 'openai',
    contextTokens,
    features,
  }) as OfferingWorker['offers'][number]
const worker = (id: string, offers: OfferingWorker['offers'], draining = false) =>
  ({ id, offers, draining }) as OfferingWorker

function modelsOf(...workers: OfferingWorker[]): OfferedModels {
  const models = new OfferedModels(simulatedRuntime(1))
  for (const one of workers) models.put(one)
  return models
}

const chat: FeatureNeed = { feature: 'chat', param: 'model' }
const tools: FeatureNeed = { feature: 'tools', param: 'tools' }

function refusalOf(act: () => unknown) {
  try {
    act()
  } catch (error) {
    return (error as PoolError).refusal
  }
  return undefined
}

test('a name may pin the model file', () => {
  expect(parseModelName(`org/toy@${a}`)).toEqual({ name: 'org/toy', digest: a })
  expect(parseModelName('toy@latest')).toEqual({ name: 'toy@latest', digest: undefined })
})

test('the answer is fingerprinted by the file that most workers have', () => {
  const models = modelsOf(
    worker('1', [offer(a, ['chat'])]),
    worker('2', [offer(b, ['chat'], 2_048)]),
    worker('3', [offer(b, ['chat'], 2_048)]),
  )
  expect(chooseModel(models, 'toy', undefined, [chat])).toEqual({
    name: 'toy',
    digest: undefined,
    contextTokens: 2_048,
    fingerprint: 'fp_bbbbbbbbbb',
  })
  expect(chooseModel(models, `toy@${a}`, undefined, [chat])).toMatchObject({
    digest: a,
    contextTokens: 512,
    fingerprint: 'fp_aaaaaaaaaa',
  })
})

test('an upstream without a file has no fingerprint', () => {
  expect(chooseModel(modelsOf(worker('1', [offer(null, ['chat'])])), 'toy', undefined, [chat]).fingerprint).toBeNull()
})

test('one file must do all that is asked; two that do half each are refused', () => {
  const models = modelsOf(worker('1', [offer(a, ['chat'])]), worker('2', [offer(b, ['tools'])]))
  expect(refusalOf(() => chooseModel(models, 'toy', undefined, [chat, tools]))).toMatchObject({
    code: 'unsupported_parameter',
    param: 'tools',
  })
})

test('a model nobody offers now is passed on: others know whether to wait', () => {
  expect(chooseModel(modelsOf(), 'toy', undefined, [chat])).toMatchObject({
    name: 'toy',
    contextTokens: undefined,
    fingerprint: null,
  })
})

test('a key limited to other models is told so before anything else', () => {
  expect(refusalOf(() => chooseModel(modelsOf(), 'toy', ['big'], [chat]))?.code).toBe('model_not_allowed')
})

test('what is offered follows the workers: changed, drained, gone', () => {
  const models = modelsOf(worker('1', [offer(a, ['chat'])]), worker('2', [offer(a, ['chat'])]))
  expect([models.workers, models.find('toy')?.variants[0]?.workers]).toEqual([2, 2])
  models.put(worker('2', [offer(a, ['chat'])], true))
  expect([models.workers, models.find('toy')?.variants[0]?.workers]).toEqual([1, 1])
  models.put(worker('1', [{ ...offer(b, ['chat']), name: 'other' }]))
  expect(models.list().map((entry) => entry.name)).toEqual(['other'])
  models.remove('1')
  models.remove('1')
  expect([models.workers, models.list()]).toEqual([0, []])
})
