import { afterAll, beforeEach, expect, test } from 'vitest'
import type { Capability } from '#federation'
import { FederatedPool } from '../../testkit/federated-pool.ts'

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
})
afterAll(() => Promise.all(opened.map((pool) => pool[Symbol.asyncDispose]())))

const lentBy = ({ federation }: FederatedPool, { id }: FederatedPool) =>
  (federation.peers.get(id)?.capabilities ?? []).map((one) => (one as { model?: string }).model)

test('what a pool has when it is promoted to lending is known at once, not with the next heartbeat', async () => {
  offered = [model('new')]
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await expect.poll(() => lentBy(anna, bert)).toEqual(['new'])
  expect(anna.federation.heartbeats.isReachable(bert.id)).toBe(true)
})

test('a pool that begins to lend says so, and what it has, to whom it lends', async () => {
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await expect.poll(() => anna.federation.heartbeats.isReachable(bert.id)).toBe(true)
  // the first job came too early
  anna.federation.heartbeats.refused(bert.id, 'this needs trust 2 here')
  offered = [model('new')]
  await bert.federation.office.promote(anna.id, 2, 'owner.key')
  await expect.poll(() => lentBy(anna, bert)).toEqual(['new'])
  expect(anna.federation.heartbeats.whyAside(bert.id)).toBeUndefined()
  expect(bert.federation.heartbeats.isReachable(anna.id)).toBe(true)
})

test('every process of a pool looks at whom one of them was told to trust', async () => {
  await using other = await anna.another()
  await expect.poll(() => other.federation.peers.get(bert.id)?.trust).toBe(1)
  expect(other.federation.heartbeats.isReachable(bert.id)).toBe(false)
  await anna.federation.office.promote(bert.id, 2, 'owner.key')
  await expect.poll(() => other.federation.heartbeats.isReachable(bert.id)).toBe(true)
})
