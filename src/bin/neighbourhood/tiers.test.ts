import { symlinkSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeRandomModel } from '../../../tools/demo-model/random-model.ts'
import { type TestDatabase, testDatabase } from '../../testkit/index.ts'
import { demoModelPath, eventually, Neighbourhood } from '../../testkit/neighbourhood.ts'

const town = new Neighbourhood()
const little = path.join(town.folder, 'little.gguf')
const big = path.join(town.folder, 'big.gguf')
const tiers = ['--tier', 'small=little', '--tier', 'large=big']
let db: TestDatabase
let ann: Awaited<ReturnType<Neighbourhood['join']>>
const start = (degradation: string) =>
  town.start('pool', [...tiers, '--degradation', degradation], { DATABASE_URL: db.url })
beforeAll(async () => {
  db = await testDatabase()
  symlinkSync(demoModelPath, little)
  writeRandomModel(big, { dim: 64, layers: 2, heads: 4, kvHeads: 2, ff: 128, context: 2048, seed: 9, quant: 'q8_0' })
  await start('down')
  for (const [model, price] of [
    ['little', '0.0001'],
    ['big', '0.0009'],
  ] as const) {
    expect((await town.cli('prices', 'set', model, '--prompt-token', price, '--completion-token', price)).err).toBe('')
  }
  ann = await town.join('ann', ['--model', big])
}, 240_000)
afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await db?.[Symbol.asyncDispose]()
})

/** Waits until the owner is warned of this about tiers, and of nothing else. */
const warned = (what: string, ...expected: readonly string[]) =>
  eventually(what, async () => {
    const { warnings } = await town.admin<{ warnings: string[] }>('GET', '/status')
    const found = warnings.filter((warning) => warning.startsWith('Tier'))
    return JSON.stringify(found) === JSON.stringify(expected)
  })

const question = (model: string) => ({
  model,
  messages: [{ role: 'user' as const, content: '3+4=?' }],
  max_completion_tokens: 4,
})
const ask = (model: string, client: OpenAI = town.client()) =>
  client.chat.completions.create(question(model)).withResponse()

/** Asks for one model, is answered by another, and finds that everywhere. */
async function standsIn(asked: string, served: string, price: string) {
  const { data, response } = await ask(asked)
  expect([data.model, response.headers.get('x-lichen-served-model')]).toEqual([served, served])
  expect(data.usage?.completion_tokens).toBeGreaterThan(0)
  const receipt = await eventually('a receipt', async () => {
    const headers = { authorization: `Bearer ${town.apiKey}` }
    const reply = await fetch(`${town.url}/v1/receipts/${response.headers.get('x-lichen-receipt')}`, { headers })
    return reply.status === 200 && Buffer.from(await reply.arrayBuffer())
  })
  const { statement, order } = JSON.parse(receipt.toString()).view
  expect(statement).toMatchObject({ asked, model: served, prices: { prompt: price, completion: price } })
  expect(statement.price).toBe(String((statement.usage.prompt + statement.usage.completion) * Number(price)))
  expect(order).toMatchObject({ model: served, prices: statement.prices })
  const file = path.join(town.folder, `${served}.json`)
  await writeFile(file, receipt)
  const verified = await town.cli('verify', file)
  expect([verified.code, verified.err]).toEqual([0, ''])
  expect(verified.out).toContain(`model ${served} in place of ${asked}, which was asked for and nobody offered`)
}

test('a pool that looks down only does not answer for a small model with a large one, and says so', async () => {
  await warned('both warnings', 'Tier small is down: no worker lends little.', hangs('large', 'big'))
  const refused = await ask('little').then(undefined, (error: InstanceType<typeof OpenAI.APIError>) => error)
  expect(refused).toMatchObject({ status: 404, code: 'model_not_found' })
})

const hangs = (tier: string, model: string) => `Tier ${tier} hangs on one worker: add another that lends ${model}.`

test('a request for a tier that is down is answered by the larger pool, at its price, and head, receipt and `lichen verify` say so', async () => {
  await town.pool?.stop()
  await start('any')
  await warned('ann to be back', 'Tier small is down: no worker lends little.', hangs('large', 'big'))
  await standsIn('little', 'big', '900')
  // a key for the small model alone is not degraded against its word
  const { key } = (await town.cli('keys', 'create', 'thrifty', '--models', 'little', '--json')).json as { key: string }
  const refused = await ask('little', town.client({ apiKey: key })).then(undefined, (error) => error)
  expect(refused).toMatchObject({ status: 404, code: 'model_not_found' })
}, 120_000)

test('the owner is warned of a tier that hangs on one worker until a second comes; when the large one is down the small one answers', async () => {
  await town.join('bob', ['--model', little])
  await warned('both to hang on one worker', hangs('small', 'little'), hangs('large', 'big'))
  await ann.program.stop()
  await warned('the large tier to be down', hangs('small', 'little'), 'Tier large is down: no worker lends big.')
  await standsIn('big', 'little', '100')
  await town.join('cid', ['--model', little, '--model', big])
  await warned('the small tier to stand on two', hangs('large', 'big'))
  const status = (await town.cli('status')).out
  expect(status).toContain(hangs('large', 'big'))
  expect(status).not.toContain('Tier small')
  const { data, response } = await ask('little')
  expect([data.model, response.headers.get('x-lichen-served-model')]).toEqual(['little', null])
}, 240_000)
