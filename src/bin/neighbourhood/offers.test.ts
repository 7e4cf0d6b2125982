import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoModelPath, eventually, Neighbourhood } from '#testkit'

/** A pool that wants two workers for each tier and hands out two files, one of which is changed once it is read. */
const town = new Neighbourhood()
const library = path.join(town.folder, 'library')
let ada: Awaited<ReturnType<Neighbourhood['join']>>

beforeAll(async () => {
  mkdirSync(library)
  copyFileSync(demoModelPath, path.join(library, 'lichen-demo.gguf'))
  const spoiled = path.join(library, 'spoiled.gguf')
  writeFileSync(spoiled, Buffer.concat([readFileSync(demoModelPath), Buffer.alloc(1)]))
  const tiers = ['--tier', 'other=spoiled', '--tier', 'small=lichen-demo']
  await town.start('pool', [...tiers, '--model-library', library, '--offer-patience', '1s'])
  writeFileSync(spoiled, Buffer.concat([readFileSync(demoModelPath), Buffer.of(7)]))
  ada = await town.join('ada')
})
afterAll(() => town[Symbol.asyncDispose]())

interface Shown {
  models: { name: string; digest: string | null }[]
  accepts: { disk_bytes: number; memory_bytes: number } | null
}
interface Happened {
  subject: string
  details: Record<string, unknown>
}
const show = (id: string) => town.admin<Shown>('GET', `/workers/${id}`)
const event = (type: string) =>
  eventually(type, async () => (await town.admin<{ data: Happened[] }>('GET', `/events?type=${type}`)).data[0], 50_000)
const modelFolder = (dataDir: string) => path.join(dataDir, 'worker', 'models')

test('a worker that gets other bytes than it was offered deletes them, says so, and the pool hands the file out no more', async () => {
  const carla = await town.join('carla', ['--accept-models'])
  expect(await event('model_refused')).toMatchObject({
    subject: carla.id,
    details: { model: 'spoiled', why: 'digest_mismatch' },
  })
  expect(readdirSync(modelFolder(carla.dataDir))).toEqual([])
  expect((await show(carla.id)).models).toEqual([])
  await eventually('the pool to look at its file', () => /handed out no more/.test(town.pool?.stderr ?? ''))
  await carla.program.stop()
})

test('a willing idle worker is offered the model the tier lacks, fetches it, and serves it alone', async () => {
  const { models, accepts } = await show(ada.id)
  const digest = models[0]?.digest
  expect(accepts, 'its owner did not say so').toBeNull()
  const bob = await town.join('bob', ['--accept-models', '--model-space', '50MiB'])
  expect(await event('model_fetched')).toMatchObject({ subject: bob.id, details: { model: 'lichen-demo', digest } })
  const shown = await show(bob.id)
  expect(shown.models).toMatchObject([{ name: 'lichen-demo', digest }])
  expect(readdirSync(modelFolder(bob.dataDir)).sort()).toEqual([`${digest}.gguf`, 'held.json'])
  await ada.program.stop()
  const question = { model: 'lichen-demo', messages: [{ role: 'user' as const, content: 'tell me about lichen' }] }
  const answer = await town.client().chat.completions.create({ ...question, temperature: 0, max_tokens: 20 })
  expect(answer.choices[0]?.message.content?.length).toBeGreaterThan(10)
})
