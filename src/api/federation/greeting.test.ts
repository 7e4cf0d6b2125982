import { afterAll, beforeEach, expect, test } from 'vitest'
import { type Capability, jobPath } from '#federation'
import { FederatedPool } from '../../testkit/federated-pool.ts'

/** Databases and cores are shared with other tests. */
const soon = { timeout: 20_000 }

const model = (name: string): Capability => ({
  model: name,
  workers: 1,
  digest: null,
  context: 512,
  features: ['chat'],
  prices: { prompt: 1n, completion: 1n },
})
/** What Bert's workers offer. */
let offered: Capability[]
let anna: FederatedPool
let bert: FederatedPool
const opened: FederatedPool[] = []
beforeEach(async () => {
  offered = []
  ;[anna, bert] = await Promise.all([
    FederatedPool.open('anna'),
    FederatedPool.open('bert', { capabilities: () => offered }),
  ])
  opened.push(anna, bert)
  await anna.federation.office.add(bert.url)
  // and no call that still says what was there before
  await expect.poll(() => bert.calledBack, soon).toHaveLength(1)
})
afterAll(() => Promise.all(opened.map((pool) => pool[Symbol.asyncDispose]())))

const lentBy = ({ federation }: FederatedPool, { id }: FederatedPool) =>
  (federation.peers.get(id)?.capabilities ?? []).map((one) => (one as { model?: string }).model)

test('what a pool has when it is promoted to lending is known at once, not with the next heartbeat', async () => {
  offered = [model('new')]
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await expect.poll(() => lentBy(anna, bert), soon).toEqual(['new'])
  expect(anna.federation.heartbeats.isReachable(bert.id)).toBe(true)
})

test('a pool that begins to lend says so, and what it has, to whom it lends', async () => {
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await expect.poll(() => anna.federation.heartbeats.isReachable(bert.id), soon).toBe(true)
  // the first job came too early
  anna.federation.heartbeats.refused(bert.id, 'this needs trust 2 here')
  offered = [model('new')]
  await bert.federation.office.promote(anna.id, 2, 'owner.key')
  await expect.poll(() => lentBy(anna, bert), soon).toEqual(['new'])
  expect(anna.federation.heartbeats.whyAside(bert.id)).toBeUndefined()
  expect(bert.federation.heartbeats.isReachable(anna.id)).toBe(true)
})

test('a pool that finds another one again says what it has', async () => {
  await bert.federation.office.promote(anna.id, 2, 'owner.key')
  await expect.poll(() => bert.federation.heartbeats.isReachable(anna.id), soon).toBe(true)
  offered = [model('new')]
  bert.federation.heartbeats.unreached(anna.id, 'the road was cut')
  await expect.poll(() => lentBy(anna, bert), soon).toEqual(['new'])
  expect(bert.federation.heartbeats.whyAside(anna.id)).toBeUndefined()
})

test('every process of a pool looks at whom one of them was told to trust', async () => {
  await using other = await anna.another()
  await expect.poll(() => other.federation.peers.get(bert.id)?.trust, soon).toBe(1)
  expect(other.federation.heartbeats.isReachable(bert.id)).toBe(false)
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await expect.poll(() => other.federation.heartbeats.isReachable(bert.id), soon).toBe(true)
})

test('a pool that one process revokes is cut off by the others in mid-stream, in both directions', async () => {
  await using other = await anna.another()
  for (const [one, peer] of [
    [anna, bert],
    [bert, anna],
  ] as const)
    await one.federation.office.promote(peer.id, 2, 'owner.key')
  await expect.poll(() => other.federation.peers.get(bert.id)?.trust, soon).toBe(2)
  const served: string[] = []
  for (const [name, { federation }] of [
    ['anna', other],
    ['bert', bert],
  ] as const)
    federation.serve(jobPath, {
      trustMin: 2,
      async reply(_, signal) {
        signal.addEventListener('abort', () => served.push(`${name} stops`))
        return { contentType: 'text/event-stream', pieces: endless() }
      },
    })
  const ask = (from: FederatedPool, to: FederatedPool) =>
    from.federation.outbound.open(to.as(2), {
      method: 'POST',
      target: jobPath,
      hop: 1,
      chain: [from.id],
      body: { origin_pool_id: from.id },
    })
  const streams = await Promise.all([ask(bert, other), ask(other, bert)])
  const read = streams.map(async (stream) => {
    if (!stream.ok) throw new Error(stream.message)
    await stream.pieces.next()
    for await (const piece of stream.pieces) expect(piece.length).toBeGreaterThan(0)
  })
  const ends = Promise.allSettled(read)
  await anna.federation.office.revoke(bert.id, 'owner.key')
  expect((await ends).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await expect.poll(() => served, soon).toContain('anna stops')
})

/** One event, and then nothing. */
async function* endless(): AsyncGenerator<Buffer, void> {
  yield Buffer.from('data: {}\n\n')
  await new Promise(() => {})
}
