import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { LibraryModel } from '#artifacts'
import { generateIdentity } from '#crypto'
import { Identity } from '#identity'
import { type EventJournal, Metrics, type PoolEvents } from '#observability'
import { type ModelOffered, parseWorkerId, type WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { demoModelPath, eventually, simulatedRuntime, type TestDatabase, temporaryFolder, testDatabase } from '#testkit'
import type { ConnectedWorker, OfferedFetch, Workers } from '#workers'
import { followBlocks, followWorkerKeys } from './admit-workers.ts'
import { HandOutModels } from './hand-out-models.ts'

/** A pool that lacks a worker for its tier, has two files to hand out, and one idle worker that is offered the first of them. */
const address = '192.0.2.7'
let folder: ReturnType<typeof temporaryFolder>
let moss: string
let fern: string
let handOut: HandOutModels
let changed: string[]
let offered: ModelOffered[]
let ended: string[]
let worker: WorkerId
let db: TestDatabase
/** Two processes of one pool: one hands out, the other one decides. */
let here: Identity
let there: Identity

beforeEach(async () => {
  folder = temporaryFolder()
  moss = path.join(folder.path, 'moss.gguf')
  fern = path.join(folder.path, 'fern.gguf')
  copyFileSync(demoModelPath, moss)
  writeFileSync(fern, Buffer.concat([readFileSync(demoModelPath), Buffer.of(1)]))
  changed = []
  offered = []
  ended = []
  db = await testDatabase()
  here = new Identity(db.database, systemRuntime)
  there = new Identity(db.database, systemRuntime)
  const keys = generateIdentity(systemRuntime)
  worker = parseWorkerId(keys.id) as WorkerId
  const { token } = await there.invite({ operator: 'ann', by: 'ann' })
  await there.admitWorker({ publicKey: keys.publicKey, id: worker, token })
  await there.approveWorker(worker, 'ann')
  const workers = {
    list: () => (ended.length === 0 ? [idle(worker)] : []),
    offerModel: (_: WorkerId, offer: ModelOffered) => offered.push(offer) > 0,
    withdrawModel() {},
    standingChanged() {},
    disconnect: (id: WorkerId) => ended.push(id) > 0,
    disconnectFrom: (meant: (address: string) => boolean) => (meant(address) && ended.push(worker) > 0 ? [worker] : []),
  } as Partial<Workers> as Workers
  const runtime = simulatedRuntime()
  const events = {
    modelOffer() {},
    keyDecided() {},
    modelChanged: ({ digest }: { digest: string }) => void changed.push(digest),
  }
  handOut = await HandOutModels.open({
    settings: {
      data: folder.path,
      modelLibrary: [moss, fern],
      modelRate: Number.POSITIVE_INFINITY,
      tier: [{ name: 'small', models: ['moss'] }],
      tierWorkers: 1,
      hotSpare: 0,
      offerPatience: 1_000,
    },
    runtime,
    workers,
    trusted: () => () => true,
    events: events as Partial<PoolEvents> as PoolEvents,
    metrics: new Metrics(),
    journal: { add() {} } as Pick<EventJournal, 'add'>,
  })
  followWorkerKeys(here, { workers, handOut }, events as Partial<PoolEvents> as PoolEvents)
  followBlocks(here, { workers, handOut }, systemRuntime)
  runtime.advance(5_000)
})
afterEach(async () => {
  handOut[Symbol.dispose]()
  here[Symbol.dispose]()
  there[Symbol.dispose]()
  await db.drop()
  folder[Symbol.dispose]()
})

const idle = (id: WorkerId) =>
  ({
    id,
    standing: 'approved',
    active: 0,
    slots: 1,
    draining: false,
    offers: [],
    fetching: fetchOf(offered.at(-1)),
    room: { diskBytes: 2 ** 40, memoryBytes: 2 ** 40, held: [] },
  }) as Partial<ConnectedWorker> as ConnectedWorker

const fetchOf = (offer: ModelOffered | undefined): OfferedFetch | undefined =>
  offer && { offer: offer.offer, name: offer.name, digest: offer.digest, bytes: 0, bytesOf: offer.bytes }

const refuse = ({ name, digest, bytes }: LibraryModel) =>
  handOut.fetched(idle(worker), { offer: 'the offer', name, digest, bytes, bytesOf: bytes }, 'digest_mismatch')

const fetchable = ({ digest, ticket }: ModelOffered) => {
  try {
    return handOut.library.open(digest, ticket, undefined) !== undefined
  } catch (error) {
    return (error as { code: string }).code
  }
}

test.each<[string, () => Promise<unknown>]>([
  ['its key is revoked', () => there.revokeWorker(worker, 'ann')],
  ['it is blocked', () => there.block({ worker }, 'a suspicion', 'ann')],
  ['its operator is blocked', () => there.block({ operator: 'ann' }, 'a suspicion', 'ann')],
  ['its address is blocked', () => there.block({ address: '192.0.2.0/24' }, 'a suspicion', 'ann')],
])('a worker fetches nothing more from the moment in which, at any process of the pool, %s', async (_, bar) => {
  const [offer] = offered
  if (!offer) throw new Error('nothing was offered')
  expect(fetchable(offer)).toBe(true)
  const { pieces } = handOut.library.open(offer.digest, offer.ticket, undefined)
  expect((await pieces.next()).done).toBe(false)
  await bar()
  await eventually('its session to end', () => ended.length > 0)
  expect(fetchable(offer)).toBe('ticket_refused')
  await expect(pieces.next(), 'what is under way is cut').rejects.toMatchObject({ code: 'ticket_refused' })
})

test('a file is handed out on when a worker says it got other bytes and another file of the library cannot be read', async () => {
  const [first, second] = handOut.library.models
  if (!first || !second) throw new Error('the library is empty')
  rmSync(fern)
  refuse(first)
  refuse(second)
  await eventually('the pool to look at its files', () => changed.length > 0)
  expect(changed).toEqual([second.digest])
  writeFileSync(moss, Buffer.concat([readFileSync(demoModelPath), Buffer.of(2)]))
  refuse(first)
  await eventually('the pool to look again', () => changed.length > 1)
  expect(handOut.library.models).toEqual([])
})
