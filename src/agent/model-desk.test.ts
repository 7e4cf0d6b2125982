import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ModelLibrary } from '#artifacts'
import { sha256 } from '#crypto'
import { type ModelOffered, messageType, PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { PacedEngine, temporaryFolder } from '#testkit'
import { ApiDouble } from '../testkit/api-double.ts'
import { demoOffer } from '../testkit/paced-engine.ts'
import { EngineSet } from './engine-set.ts'
import { ModelDesk } from './model-desk.ts'

/** A pool that hands out one file of 2 MB, slowly where a test says so. */
const runtime = systemRuntime
const content = randomBytes(2_000_000)
const digest = sha256(content).toString('hex')
const town = temporaryFolder()
const source = path.join(town.path, 'moss.gguf')
let library: ModelLibrary
let api: ApiDouble
const asked: string[] = []

const libraryWith = (bytesPerSecond: number) =>
  new ModelLibrary([{ name: 'moss', path: source, digest, bytes: content.length }], { runtime, bytesPerSecond })

beforeAll(async () => {
  writeFileSync(source, content)
  library = libraryWith(2 ** 40)
  api = await ApiDouble.open({
    modelFiles: {
      open: (...args) => {
        asked.push(args[2] ?? '')
        return library.open(...args)
      },
    },
  })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  town[Symbol.dispose]()
})

let workers = 0

/** A worker's desk, and what it says to its pool. */
async function openWorker(
  more: { folder?: string; spaceBytes?: number; load?: (name: string) => Promise<PacedEngine> } = {},
): Promise<{ desk: ModelDesk; engines: EngineSet; folder: string; said: string[]; begin(): void }> {
  const { folder = path.join(town.path, `worker-${++workers}`), spaceBytes = 2 ** 30, load } = more
  const log = { info() {}, warn() {} }
  const engines = new EngineSet([], 'test', log)
  const said: string[] = []
  engines.onChanged = () => said.push(`lends ${engines.hello().models.map(({ name }) => name)}`)
  const desk = await ModelDesk.open({
    folder,
    spaceBytes,
    memoryBytes: () => 2 ** 33,
    load:
      load ??
      (async (name, file) =>
        new PacedEngine({
          runtime,
          pieces: [],
          offers: [{ ...demoOffer, name, digest: path.basename(file, '.gguf') }],
        })),
    engines,
    runtime,
    log,
    urlOf: (file) => `${api.url}/v1/workers/models/${file}`,
  })
  const say = (type: number, body: Buffer) => {
    const { code, diskBytes } = JSON.parse(body.toString())
    if (type === messageType.room) said.push(`room ${diskBytes > 1_000_000_000 ? 'plenty' : diskBytes}`)
    if (type === messageType.fetched) said.push(code === null ? 'held' : code)
  }
  return { desk, engines, folder, said, begin: () => desk.opened({ say }) }
}

const offer = (): ModelOffered => ({
  offer: runtime.uuid(),
  name: 'moss',
  digest,
  bytes: content.length,
  drop: [],
  ticket: library.tickets.issue('w', digest, content.length) ?? '',
  expiresMs: 60_000,
})

test('a model is lent before the pool hears that it is held, and lent again after a restart', async () => {
  const { desk, engines, folder, said, begin } = await openWorker()
  begin()
  desk.take(offer())
  await expect.poll(() => said.at(-1)).toMatch(/^room/)
  await expect.poll(() => said.length, { timeout: 10_000 }).toBe(4)
  expect(said).toEqual(['room plenty', 'lends moss', 'held', 'room plenty'])
  expect(engines.choose('moss', digest)).toBeDefined()
  await desk[Symbol.asyncDispose]()

  asked.length = 0
  const again = await openWorker({ folder })
  expect(again.engines.hello().models).toMatchObject([{ name: 'moss', digest }])
  again.begin()
  again.desk.take(offer())
  await expect.poll(() => again.said).toContain('held')
  expect(asked, 'it has the file').toEqual([])
  await again.desk[Symbol.asyncDispose]()
})

test('a session that ends in the middle leaves what came; the next offer goes on from there', async () => {
  const { desk, said, folder, begin } = await openWorker()
  begin()
  library = libraryWith(1_500_000)
  asked.length = 0
  desk.take(offer())
  const part = path.join(folder, `${digest}.part`)
  await expect.poll(() => existsSync(part) && readdirSync(folder).length > 0 && asked.length).toBe(1)
  await runtime.sleep(400)
  desk.ended()
  library = libraryWith(2 ** 40)
  begin()
  desk.take(offer())
  await expect.poll(() => said, { timeout: 10_000 }).toContain('held')
  expect(said.filter((word) => word === 'held')).toHaveLength(1)
  expect(Number(/^bytes=(\d+)-$/.exec(asked.at(-1) ?? '')?.[1])).toBeGreaterThan(0)
  await desk[Symbol.asyncDispose]()
})

test('a withdrawn offer ends without a word, and the worker says what it has room for', async () => {
  const { desk, engines, said, begin } = await openWorker()
  begin()
  await expect.poll(() => said).toEqual(['room plenty'])
  library = libraryWith(1_000_000)
  const withdrawn = offer()
  desk.take(withdrawn)
  await runtime.sleep(100)
  desk.withdraw(withdrawn.offer)
  await expect.poll(() => said).toEqual(['room plenty', 'room plenty'])
  expect(engines.choose('moss', null)).toBeUndefined()
  library = libraryWith(2 ** 40)
  await desk[Symbol.asyncDispose]()
})

test('a model above what the owner gives is refused before a byte is fetched', async () => {
  const { desk, said, begin } = await openWorker({ spaceBytes: content.length - 1 })
  begin()
  asked.length = 0
  desk.take(offer())
  await expect.poll(() => said).toContain('disk_full')
  expect(asked).toEqual([])
  await desk[Symbol.asyncDispose]()
})

test('what the pool has given makes room where the pool says so, and nothing else does', async () => {
  const { desk, engines, folder, said, begin } = await openWorker({ spaceBytes: content.length + 10 })
  begin()
  desk.take(offer())
  await expect.poll(() => said).toContain('held')
  const fern = path.join(town.path, 'fern.gguf')
  const bytes = Buffer.from(content).fill(7, 0, 9)
  writeFileSync(fern, bytes)
  const other = sha256(bytes).toString('hex')
  const before = library
  library = new ModelLibrary([{ name: 'fern', path: fern, digest: other, bytes: bytes.length }], {
    runtime,
    bytesPerSecond: 2 ** 40,
  })
  const ticket = library.tickets.issue('w', other, bytes.length) ?? ''
  const wish = { ...offer(), name: 'fern', digest: other, ticket }
  desk.take({ ...wish, drop: ['ab'.repeat(32)] })
  await expect.poll(() => said).toContain('disk_full')
  desk.take({ ...wish, drop: [digest] })
  await expect.poll(() => said.filter((word) => word === 'held')).toHaveLength(2)
  expect(said).toContain('lends ')
  expect([engines.choose('moss', null), engines.choose('fern', other) !== undefined]).toEqual([undefined, true])
  expect(readdirSync(folder).sort()).toEqual([`${other}.gguf`, 'held.json'])
  library = before
  await desk[Symbol.asyncDispose]()
})

test('a file no engine can load is removed and refused', async () => {
  const load = async () => {
    throw new PoolError('model_unreadable', 'No.', 'Another one.')
  }
  const { desk, folder, said, begin } = await openWorker({ load })
  begin()
  desk.take(offer())
  await expect.poll(() => said).toContain('model_unreadable')
  expect(readdirSync(folder)).toEqual(['held.json'])
  await desk[Symbol.asyncDispose]()
})

/** A pool that has another file, too, and offers it in place of the first. */
function fernFor(drop: string[], more: { readonly digest?: string } = {}): ModelOffered {
  const fern = path.join(town.path, 'fern.gguf')
  const bytes = Buffer.from(content).fill(7, 0, 9)
  writeFileSync(fern, bytes)
  const { digest: other = sha256(bytes).toString('hex') } = more
  library = new ModelLibrary([{ name: 'fern', path: fern, digest: other, bytes: bytes.length }], {
    runtime,
    bytesPerSecond: 2 ** 40,
  })
  return {
    ...offer(),
    name: 'fern',
    digest: other,
    drop,
    ticket: library.tickets.issue('w', other, bytes.length) ?? '',
  }
}

test('what is given up is lent until the model in its place is there: a fetch that fails takes nothing', async () => {
  const { desk, engines, folder, said, begin } = await openWorker()
  library = libraryWith(2 ** 40)
  begin()
  desk.take(offer())
  await expect.poll(() => said).toContain('held')
  desk.take(fernFor([digest], { digest: 'ab'.repeat(32) }))
  await expect.poll(() => said).toContain('digest_mismatch')
  expect(engines.choose('moss', digest)).toBeDefined()
  desk.take(fernFor([digest]))
  await expect.poll(() => said.filter((word) => word === 'held')).toHaveLength(2)
  expect(engines.choose('moss', null)).toBeUndefined()
  expect(readdirSync(folder)).toHaveLength(2)
  await desk[Symbol.asyncDispose]()
})

test('what was given up for a model that no engine can load is lent again', async () => {
  const load = async (name: string) => {
    if (name === 'fern') throw new PoolError('model_unreadable', 'No.', 'Another one.')
    return new PacedEngine({ runtime, pieces: [], offers: [{ ...demoOffer, name, digest }] })
  }
  const { desk, engines, folder, said, begin } = await openWorker({ load })
  library = libraryWith(2 ** 40)
  begin()
  desk.take(offer())
  await expect.poll(() => said).toContain('held')
  desk.take(fernFor([digest]))
  await expect.poll(() => said).toContain('model_unreadable')
  expect(engines.choose('moss', digest)).toBeDefined()
  expect(readdirSync(folder).sort()).toEqual([`${digest}.gguf`, 'held.json'])
  await desk[Symbol.asyncDispose]()
})
