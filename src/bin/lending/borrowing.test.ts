import { expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { FederatedPool } from '../../testkit/federated-pool.ts'
import { Borrowing } from './borrowing.ts'
import type { RemoteReceipts } from './remote-receipts.ts'

const capability = {
  model: 'far/model',
  workers: 1,
  digest: null,
  context: 512,
  features: ['chat'],
  prices: { prompt: 1n, completion: 1n },
}

test('a model that only an unreachable pool has is refused at once, with its name and since when; while that pool is there it is not', async () => {
  let ahead = 0
  let here: string[] = []
  const roster: string[] = []
  const runtime = {
    ...systemRuntime,
    now: () => systemRuntime.now() + ahead,
    monotonic: () => systemRuntime.monotonic() + ahead,
  }
  await using anna = await FederatedPool.open('anna', { runtime })
  await using bert = await FederatedPool.open('bert', { capabilities: () => [capability] })
  await anna.federation.office.add(bert.url)
  using borrowing = new Borrowing({
    runtime,
    federation: anna.federation,
    pool: anna.identity,
    jobs: {
      workerAvailable: ({ id }) => void roster.push(id),
      workerGone: (id) => void roster.splice(roster.indexOf(id), 1),
      load: { queued: 0 } as never,
    },
    prices: { for: async () => ({ prompt: 9n, completion: 9n }) } as never,
    isHere: (model) => here.includes(model),
    forwards: () => true,
    queueMax: 32,
    receipts: {} as RemoteReceipts,
    onProblem: (error) => {
      throw error
    },
  })
  // who is known only lends nothing
  ahead = 180_000
  expect(borrowing.whyAway('far/model')).toBeUndefined()
  ahead = 0
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await borrowing.look()
  expect(roster).toEqual([bert.id])
  expect(borrowing.whyAway('far/model')).toBeUndefined()
  const seenAt = anna.federation.heartbeats.of(bert.id).seenAt ?? 0
  ahead = 121_000
  await borrowing.look()
  expect(roster).toEqual([])
  expect(borrowing.whyAway('far/model')).toMatchObject({
    code: 'model_away',
    message: `The model "far/model" is at pool bert (${bert.id.slice(0, 12)}), unreachable since ${new Date(seenAt).toISOString()}.`,
    fix: expect.stringContaining('lichen fed show'),
    retryAfterMs: 30_000,
  })
  expect(borrowing.whyAway('another')).toBeUndefined()
  // a worker here that has just gone may come back
  here = ['far/model']
  await borrowing.look()
  here = []
  expect(borrowing.whyAway('far/model')).toBeUndefined()
  ahead += 61_000
  expect(borrowing.whyAway('far/model')).toMatchObject({ code: 'model_away' })
})
