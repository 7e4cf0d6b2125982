import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { type OpenDoor, openDoor, PacedEngine, testPool } from '#testkit'
import { joinAgent } from '../testkit/join-agent.ts'
import { SmallPool } from '../testkit/small-pool.ts'
import type { SmallClient } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'

/** Jobs over real sessions: sockets, Noise, the agent; only the engine is a small one. */

const pieces = Array.from({ length: 40 }, (_, n) => `w${n} `)
const body = Buffer.from('{"model":"demo","messages":[{"role":"user","content":"tell me about lichen"}]}')

let home: TestDatabase
let pool: SmallPool
let door: OpenDoor
const ends: (() => Promise<void>)[] = []

beforeAll(async () => {
  home = await testDatabase()
  door = await openDoor({
    pool: testPool,
    onAvailable: (worker) => pool.jobs.workerAvailable(worker),
    onChanged: (worker) => pool.jobs.workerAvailable(worker),
    onGone: (id) => pool.jobs.workerGone(id),
  })
  pool = await SmallPool.open(home.database, { workers: () => door.workers, settings: { takeoverGraceMs: 10_000 } })
})
afterAll(async () => {
  for (const end of ends) await end()
  await pool[Symbol.asyncDispose]()
  await door[Symbol.asyncDispose]()
  await home.drop()
})

async function join() {
  const engine = new PacedEngine({ runtime: systemRuntime, pieces, everyMs: 10, slots: 4 })
  const worker = await joinAgent(door, engine)
  ends.push(worker.leave)
  return worker
}

const ask = (more = {}) => pool.ask({ model: 'demo', body, maxTokens: 1_000, promptBytes: body.length, ...more })

const afterText = (client: SmallClient) =>
  new Promise<void>((resolve) => {
    client.onText = () => resolve()
  })

test('over real sessions: answered, taken over when killed, taken over when revoked, cancelled', async () => {
  const workers = [await join(), await join()]
  const find = (id: string | undefined) => workers.find((worker) => worker.id === id)

  const plain = await ask()
  expect(await plain.ended).toMatchObject({
    texts: [pieces.join('')],
    finishes: ['stop'],
    usage: { promptTokens: 5, completionTokens: 40 },
  })
  expect((await pool.record(plain)).segments).toMatchObject([{ outcome: 'ended', fault: null }])

  for (const end of ['killed', 'revoked'] as const) {
    const client = await ask()
    await afterText(client)
    const busy = door.workers.list().find((worker) => worker.active > 0)
    if (!busy) throw new Error('nobody computes it')
    workers.push(await join())
    if (end === 'killed') await find(busy.id)?.leave()
    else door.workers.disconnect(busy.id, { code: 'worker_revoked', message: 'Revoked.', fix: 'Ask.' })
    const reply = await client.ended
    expect(reply.refusal).toBeUndefined()
    expect(reply.texts).toEqual([pieces.join('')])
    const { segments, completionTokens } = await pool.record(client)
    expect(segments).toMatchObject([
      { workerId: busy.id, outcome: 'lost' },
      { outcome: 'ended', fault: null },
    ])
    expect(completionTokens).toBe(40)
  }

  const left = await ask()
  await afterText(left)
  left.handle?.cancel()
  await expect.poll(() => door.workers.list().every((worker) => worker.active === 0)).toBe(true)
  expect(await pool.record(left)).toMatchObject({ state: 'cancelled' })
})

test('forty requests at once on four slots are all answered, each once', async () => {
  await join()
  const clients = await Promise.all(Array.from({ length: 40 }, () => ask({ maxTokens: 3 })))
  const replies = await Promise.all(clients.map((client) => client.ended))
  expect(new Set(replies.map((reply) => reply.texts[0]))).toEqual(new Set(['w0 w1 w2 ']))
  expect(replies.every((reply) => reply.usage?.completionTokens === 3)).toBe(true)
})
