import { afterEach, beforeEach, expect, test } from 'vitest'
import { acceptModelsFeature, type ModelOffered, messageType, parseWorkerId, type WorkerId } from '#protocol'
import { RawWorker, type SessionPair, type SimulatedRuntime, sessionPair, simulatedRuntime } from '#testkit'
import { encodeFetched, encodeFetching, encodeHello, encodeRoom } from './encode-message.ts'
import { Workers } from './workers.ts'

const alice = parseWorkerId('a1'.repeat(32)) as WorkerId
const model: ModelOffered = {
  offer: '0190aaaa-bbbb-7ccc-8ddd-eeeeffff0001',
  name: 'moss',
  digest: 'ab'.repeat(32),
  bytes: 1_000,
  drop: [],
  ticket: 'A'.repeat(43),
  expiresMs: 60_000,
}
const other = { ...model, offer: '0190aaaa-bbbb-7ccc-8ddd-eeeeffff0002' }
const room = { diskBytes: 5_000, memoryBytes: 9_000, held: [] }

let runtime: SimulatedRuntime
let workers: Workers
let news: string[]

beforeEach(() => {
  runtime = simulatedRuntime(1)
  news = []
  workers = new Workers({
    runtime,
    fetched: (_, { name, bytes }, whyNot) => news.push(`${name} at ${bytes}: ${whyNot ?? 'held'}`),
    violated: (_, violation) => news.push(violation.message),
  })
})
afterEach(() => workers.close())

async function join(features: readonly string[] = [acceptModelsFeature], tellsRoom = true) {
  const pair: SessionPair = sessionPair(alice)
  workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
  const worker = new RawWorker(pair.worker).hello({ features: [...features] })
  if (tellsRoom) worker.session.send(messageType.room, encodeRoom(room))
  await runtime.pass(0)
  return worker
}
const shown = () => workers.show(alice).worker

test('a worker that takes models says its room, is offered one, and is seen fetching it to its end', async () => {
  const worker = await join()
  expect(shown()?.room).toEqual(room)
  expect(workers.offerModel(alice, model)).toBe(true)
  worker.session.send(messageType.fetching, encodeFetching(model.offer, 400))
  await runtime.pass(0)
  expect(worker.all('offerModel')).toEqual([{ say: 'offerModel', model }])
  expect(shown()?.fetching).toMatchObject({ name: 'moss', bytes: 400, bytesOf: 1_000 })
  const held = { offer: model.offer, code: null, message: '', fix: '' }
  worker.session.send(messageType.fetched, encodeFetched(held))
  await runtime.pass(0)
  expect([news, shown()?.fetching]).toEqual([['moss at 400: held'], undefined])
})

test('it has one offer at a time, and none before it has said its room', async () => {
  await join([acceptModelsFeature], false)
  expect(workers.offerModel(alice, model)).toBe(false)
  workers.close()
  const pool = new Workers({ runtime })
  const pair = sessionPair(alice)
  pool.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
  const worker = new RawWorker(pair.worker).hello({ features: [acceptModelsFeature] })
  worker.session.send(messageType.room, encodeRoom(room))
  await runtime.pass(0)
  expect([pool.offerModel(alice, model), pool.offerModel(alice, other)]).toEqual([true, false])
  pool.close()
})

test('words about an offer that was withdrawn, or is another one, mean nothing', async () => {
  const worker = await join()
  workers.offerModel(alice, model)
  workers.withdrawModel(alice)
  workers.offerModel(alice, other)
  const refused = { offer: model.offer, code: 'disk_full', message: 'No room.', fix: 'Make some.' }
  worker.session.send(messageType.fetching, encodeFetching(model.offer, 999))
  worker.session.send(messageType.fetched, encodeFetched(refused))
  await runtime.pass(0)
  expect(news).toEqual([])
  expect(shown()?.fetching).toMatchObject({ offer: other.offer, bytes: 0 })
  expect(worker.all('withdrawModel')).toEqual([{ say: 'withdrawModel', offer: model.offer }])
})

test('a refusal is told by its code, one nobody knows as a breakage', async () => {
  const worker = await join()
  for (const code of ['disk_full', 'moonlight']) {
    workers.offerModel(alice, model)
    worker.session.send(messageType.fetched, encodeFetched({ offer: model.offer, code, message: 'No.', fix: 'So.' }))
    await runtime.pass(0)
  }
  expect(news).toEqual(['moss at 0: disk_full', 'moss at 0: internal_error'])
})

test('a worker whose owner did not say so is offered nothing, and breaks the protocol by telling room', async () => {
  const worker = await join(['verify'])
  expect(worker.refusedWith).toBe('protocol_violation')
  expect(news).toEqual(['A worker that takes no models told its room.'])
  expect(workers.offerModel(alice, model)).toBe(false)
})

test('who takes its word back is offered nothing more', async () => {
  const worker = await join()
  const hello = { agent: 'raw/1', features: [], slots: 1, models: [] }
  worker.session.send(messageType.offer, encodeHello(hello))
  await runtime.pass(0)
  expect([workers.offerModel(alice, model), shown()?.room]).toEqual([false, undefined])
})
