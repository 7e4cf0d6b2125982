import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApiDouble } from '../../testkit/api-double.ts'
import { standInFor, type Tiers } from './tiers.ts'

const list = [
  { name: 'small', models: ['s1', 's2'] },
  { name: 'middle', models: ['m1'] },
  { name: 'large', models: ['l1'] },
]
const tiers = (degradation: Tiers['degradation']): Tiers => ({ list, degradation })

function offering(...names: string[]) {
  const variant = { digest: null, engine: 'llama', contextTokens: 2_048, features: ['chat'] as const, workers: 1 }
  const entry = (name: string) => ({ name, created: 0, variants: [variant] })
  return { find: (name: string) => (names.includes(name) ? entry(name) : undefined) }
}
const chat = [{ feature: 'chat', param: 'model' }] as const

test('a model that is down is stood in for by its own tier, then by the next one the policy looks at', () => {
  const find = (asked: string, policy: Tiers['degradation'], ...there: string[]) =>
    standInFor(asked, tiers(policy), offering(...there), undefined, chat)
  expect(find('s1', 'down', 's2', 'l1')).toBe('s2')
  expect(find('l1', 'down', 's1', 'm1')).toBe('m1')
  expect(find('l1', 'down', 's2')).toBe('s2')
  expect(find('m1', 'down', 'l1')).toBeUndefined()
  expect(find('m1', 'up', 's1', 'l1')).toBe('l1')
  expect(find('m1', 'any', 'l1')).toBe('l1')
  expect(find('m1', 'any', 's1', 'l1')).toBe('s1')
  expect(find('m1', 'never', 's1', 'l1')).toBeUndefined()
  expect(find('elsewhere', 'any', 's1')).toBeUndefined()
})

test('never by one that the key may not use, or that cannot do what is needed', () => {
  expect(standInFor('m1', tiers('any'), offering('s1', 'l1'), ['m1', 'l1'], chat)).toBe('l1')
  const tools = [...chat, { feature: 'tools', param: 'tools' }] as const
  expect(standInFor('m1', tiers('any'), offering('s1', 'l1'), undefined, tools)).toBeUndefined()
})

let api: ApiDouble
beforeAll(async () => {
  api = await ApiDouble.open({ tiers: { list: [{ name: 'all', models: ['huge', 'toy'] }], degradation: 'down' } })
})
afterAll(() => api[Symbol.asyncDispose]())

const messages = [{ role: 'user', content: 'hi' }]
const ask = (model: string) => api.post('/v1/chat/completions', { model, messages })

test('who is answered by another model is told which', async () => {
  const reply = await ask('huge')
  expect(reply.headers.get('x-lichen-served-model')).toBe('toy')
  expect(await reply.json()).toMatchObject({ model: 'toy' })
  expect(api.jobs.last.request.model).toBe('toy')
  const asking = { model: 'huge', messages }
  const replayed = () => api.post('/v1/chat/completions', asking, { 'idempotency-key': 'once' })
  await (await replayed()).text()
  const again = await replayed()
  expect(['idempotent-replayed', 'x-lichen-served-model'].map((name) => again.headers.get(name))).toEqual([
    'true',
    'toy',
  ])
  const usual = await ask('toy')
  expect(usual.headers.has('x-lichen-served-model')).toBe(false)
})

test('who pins a file gets that file or nothing', async () => {
  await ask(`huge@${'d1'.repeat(32)}`)
  expect(api.jobs.last.request.model).toBe('huge')
})
