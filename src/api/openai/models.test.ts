import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { ApiDouble, offerOf, toyDigest } from '../../testkit/api-double.ts'
import { OfferedModels } from './offered-models.ts'

const elsewhere = new OfferedModels(systemRuntime)
const peer = (sign: string) => sign.repeat(64) as never
let api: ApiDouble

beforeAll(async () => {
  api = await ApiDouble.open({ modelsElsewhere: () => elsewhere })
  for (const id of ['a', 'b'])
    elsewhere.put({
      id: peer(id),
      draining: false,
      offers: [offerOf('far', ['chat'], 'ab'.repeat(32)), offerOf('toy', ['chat'], 'cd'.repeat(32))],
    })
})
afterAll(() => api[Symbol.asyncDispose]())

async function get(path: string, key: string) {
  const answer = await fetch(`${api.url}/v1/models${path}`, { headers: { authorization: `Bearer ${key}` } })
  return { status: answer.status, body: (await answer.json()) as { data: { id: string }[] } }
}
const named = ({ body }: { body: { data: { id: string }[] } }, name: string) => body.data.find(({ id }) => id === name)

test('what only other pools have is listed and marked; what is here is told as it is here', async () => {
  const list = await get('', 'sk-all')
  expect(named(list, 'far')).toMatchObject({ lichen: { elsewhere: true, workers: 2, digests: ['ab'.repeat(32)] } })
  expect(named(list, 'toy')).toMatchObject({ lichen: { digests: [toyDigest] } })
  expect(named(list, 'toy')).not.toMatchObject({ lichen: { elsewhere: true } })
  expect(await get('/far', 'sk-all')).toMatchObject({ status: 200, body: { lichen: { elsewhere: true } } })
})

test('a key whose requests stay in the pool, and one that is limited to other models, see none of it', async () => {
  for (const key of ['sk-strict', 'sk-few']) {
    expect(named(await get('', key), 'far')).toBeUndefined()
    expect((await get('/far', key)).status).toBe(404)
  }
})

test('it is gone with the last pool that has it', async () => {
  elsewhere.remove(peer('a'))
  expect(named(await get('', 'sk-all'), 'far')).toMatchObject({ lichen: { workers: 1 } })
  elsewhere.remove(peer('b'))
  expect(named(await get('', 'sk-all'), 'far')).toBeUndefined()
})
