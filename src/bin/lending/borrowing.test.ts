import { expect, test } from 'vitest'
import type { WorkerId } from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'
import { FederatedPool, loopbackHosts } from '../../testkit/federated-pool.ts'
import { Road } from '../../testkit/road.ts'
import { RunRecorder } from '../../testkit/run-recorder.ts'
import { withPapers } from '../../testkit/with-papers.ts'
import { Borrowing } from './borrowing.ts'
import type { RemoteReceipts } from './remote-receipts.ts'

/** Databases and cores are shared with other tests. */
const soon = { timeout: 20_000 }

const capability = {
  model: 'far/model',
  workers: 1,
  digest: null,
  context: 512,
  features: ['chat'],
  prices: { prompt: 1n, completion: 1n },
}

/** Who may be asked, as the room of jobs is told. */
let roster: string[] = []
const jobs = {
  workerAvailable: ({ id }: { id: string }) => void roster.push(id),
  workerGone: (id: string) => void roster.splice(roster.indexOf(id), 1),
  load: { queued: 0 } as never,
}
let here: string[] = []

function borrowingOf({ federation, identity }: FederatedPool, runtime: Runtime = systemRuntime): Borrowing {
  roster = []
  return new Borrowing({
    runtime,
    federation,
    pool: identity,
    jobs,
    prices: { for: async () => ({ prompt: 9n, completion: 9n }) } as never,
    isHere: (model) => here.includes(model),
    forwards: () => true,
    queueMax: 32,
    receipts: { sent() {}, ended() {} } as unknown as RemoteReceipts,
    onProblem: (error) => {
      throw error
    },
  })
}

test('a model that only an unreachable pool has is refused at once, with its name and since when; while that pool is there it is not', async () => {
  let ahead = 0
  const runtime = {
    ...systemRuntime,
    now: () => systemRuntime.now() + ahead,
    monotonic: () => systemRuntime.monotonic() + ahead,
  }
  await using anna = await FederatedPool.open('anna', { runtime })
  await using bert = await FederatedPool.open('bert', { capabilities: () => [capability] })
  await anna.federation.office.add(bert.url)
  using borrowing = borrowingOf(anna, runtime)
  // who is known only lends nothing
  ahead = 180_000
  expect(borrowing.whyAway('far/model')).toBeUndefined()
  ahead = 0
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await borrowing.look()
  expect(roster).toEqual([bert.id])
  expect(borrowing.whyAway('far/model')).toBeUndefined()
  const seenAt = anna.federation.heartbeats.of(bert.id).seenAt ?? 0
  // another look is under way when it becomes true, as the one of every second may be
  const begun = borrowing.look()
  ahead = 121_000
  await borrowing.look()
  await begun
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

/** Anna may borrow from Bert, over a road that can be cut. */
async function neighbours() {
  const far: { pool?: FederatedPool } = {}
  const road = await Road.open(() => Number(new URL(far.pool?.url ?? '').port))
  loopbackHosts.push(new URL(road.url).host)
  const reached: boolean[] = []
  const anna = await FederatedPool.open('anna', { onReach: ({ problem }) => reached.push(problem === null) })
  const bert = await FederatedPool.open('bert', { url: road.url, capabilities: () => [capability] })
  far.pool = bert
  await anna.federation.office.add(road.url)
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  const stop = async () => {
    await road[Symbol.asyncDispose]()
    await Promise.all([anna, bert].map((pool) => pool[Symbol.asyncDispose]()))
  }
  return { road, anna, bert, reached, [Symbol.asyncDispose]: stop }
}

/** One job that goes to a lender. `roster` as it is when the room of jobs hears that it has failed. */
async function lend(borrowing: Borrowing, anna: FederatedPool, bert: FederatedPool, deadlineMs = 20_000) {
  const sink = new RunRecorder()
  const asked = {
    kind: 'chat' as const,
    model: capability.model,
    digest: null,
    choice: 0,
    seed: '0f'.repeat(32),
    maxTokens: 20,
    resume: [],
    deadlineMs,
    body: Buffer.from('{}'),
    lease: systemRuntime.uuid(),
  }
  const papers = { pool: anna.identity, worker: bert.id, now: systemRuntime.now() }
  borrowing.dispatch(bert.id as unknown as WorkerId, withPapers(asked, papers), sink)
  const over = await sink.over
  return { over, message: sink.refusal?.message, roster: [...roster] }
}

test('a pool that a call has not reached is asked for nothing more, also before it counts as unreachable, until it is found again', async () => {
  await using all = await neighbours()
  const { anna, bert, road } = all
  using borrowing = borrowingOf(anna)
  await expect.poll(() => roster, soon).toEqual([bert.id])
  road.cut()
  // it is gone from the roster before anybody looks for another worker
  expect(await lend(borrowing, anna, bert)).toMatchObject({ over: 'failed upstream_error, retry', roster: [] })
  await borrowing.look()
  expect(roster).toEqual([])
  expect(anna.federation.heartbeats.isReachable(bert.id)).toBe(true)
  expect(borrowing.whyAway(capability.model)).toMatchObject({
    code: 'model_away',
    message: expect.stringContaining('unreachable since'),
  })
  road.mend()
  // no beat comes so soon
  await expect.poll(() => roster, soon).toEqual([bert.id])
  expect(all.reached).toEqual([false, true])
  expect(borrowing.whyAway(capability.model)).toBeUndefined()
})

test('every process of a pool knows which worker is a pool, also of what another one has sent there', async () => {
  await using all = await neighbours()
  const { anna, bert } = all
  await using restarted = await anna.another()
  using borrowing = borrowingOf(restarted)
  await expect.poll(() => restarted.federation.peers.get(bert.id)?.trust, soon).toBe(2)
  expect(borrowing.peerOf(bert.id)).toBe(bert.id)
  expect(borrowing.peerOf(anna.id)).toBeUndefined()
})

test('a pool that takes no jobs of this one says why to whoever asks, and is asked again a moment later', async () => {
  await using all = await neighbours()
  const { anna, bert } = all
  using borrowing = borrowingOf(anna)
  await expect.poll(() => roster, soon).toEqual([bert.id])
  expect(await lend(borrowing, anna, bert)).toMatchObject({ message: expect.stringContaining('404'), roster: [] })
  expect(borrowing.whyAway(capability.model)).toMatchObject({
    code: 'model_away',
    message: expect.stringContaining(
      'which takes no job of this pool now: It answered 404: there is nothing at this path',
    ),
  })
  await expect.poll(() => roster, soon).toEqual([bert.id])
  expect(borrowing.whyAway(capability.model)).toBeUndefined()
  // its faults are not counted
  expect(await anna.federation.records.read()).toEqual(new Map())
})

test('a job that ends by its own deadline while its lender answers leaves the lender to everybody else', async () => {
  await using all = await neighbours()
  const { anna, bert } = all
  await bert.federation.office.promote(anna.id, 2, 'owner.key')
  const token = Buffer.from('data: {"tokens":[[1,"YQ=="]]}\n\n')
  async function* withoutEnd() {
    for (;;) {
      yield token
      await systemRuntime.sleep(50)
    }
  }
  const reply = async () => ({ contentType: 'text/event-stream', pieces: withoutEnd() })
  bert.federation.serve('/v1/federation/job', { trustMin: 2, reply })
  using borrowing = borrowingOf(anna)
  await expect.poll(() => roster, soon).toEqual([bert.id])
  expect(await lend(borrowing, anna, bert, 1_500)).toMatchObject({
    over: 'lost: No whole answer within 1500 ms.',
    roster: [bert.id],
  })
  expect(anna.federation.heartbeats.whyAside(bert.id)).toBeUndefined()
})
