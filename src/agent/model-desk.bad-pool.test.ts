import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { artifactsLimits } from '#artifacts'
import { sha256 } from '#crypto'
import { type ModelOffered, memoryFor, messageType, type Refusal } from '#protocol'
import { systemRuntime } from '#runtime'
import { demoOffer, eventually, PacedEngine, temporaryFolder } from '#testkit'
import { EngineSet } from './engine-set.ts'
import { ModelDesk } from './model-desk.ts'

/** A worker that takes models from a pool that means no good: it sends files of 1,000 bytes as fast, or as slowly, as it likes. */
const runtime = systemRuntime
const log = { info: () => {}, warn: () => {} }
const contents = Array.from({ length: artifactsLimits.heldMax + 1 }, () => randomBytes(1_000))
const digests = contents.map((content) => sha256(content).toString('hex'))
const enough = 2 ** 40

let folder: ReturnType<typeof temporaryFolder>
let pool: http.Server
/** Requests for files, and how the pool answers them. */
let asked: number
let dripMs: number
let desk: ModelDesk
let loaded: string[]
let ended: number
let said: { offer: string; code: string | null }[]
let memory: number

beforeEach(async () => {
  folder = temporaryFolder()
  asked = 0
  dripMs = 0
  loaded = []
  ended = 0
  said = []
  memory = enough
  pool = http.createServer(async ({ url }, response) => {
    asked++
    const content = contents[digests.indexOf(url?.slice(1) ?? '')] ?? Buffer.alloc(0)
    response.writeHead(206, { 'content-range': `bytes 0-999/${content.length}` })
    if (dripMs === 0) return response.end(content)
    for (const byte of content) {
      if (response.destroyed) return
      response.write(Buffer.of(byte))
      await runtime.sleep(dripMs)
    }
    response.end()
  })
  await new Promise<void>((resolve) => pool.listen(0, '127.0.0.1', resolve))
  const { port } = pool.address() as AddressInfo
  desk = await ModelDesk.open({
    folder: folder.path,
    spaceBytes: enough,
    memoryBytes: () => memory,
    load: async (name) => {
      loaded.push(name)
      const engine = new PacedEngine({ runtime, pieces: [], offers: [{ ...demoOffer, name }] })
      engine[Symbol.asyncDispose] = async () => void ended++
      return engine
    },
    engines: new EngineSet([], 'lichen/test', log),
    runtime,
    log,
    urlOf: (digest) => `http://127.0.0.1:${port}/${digest}`,
  })
  desk.opened({
    say: (type, body) => {
      if (type === messageType.fetched) said.push(JSON.parse(String(body)) as Refusal & { offer: string })
    },
  })
})
afterEach(async () => {
  await desk[Symbol.asyncDispose]()
  pool.closeAllConnections()
  pool.close()
  folder[Symbol.dispose]()
})

function offer(n: number, name: string, more: Partial<ModelOffered> = {}): string {
  const id = runtime.uuid()
  const file = { digest: digests[n] ?? '', bytes: 1_000, drop: [], ticket: 'a'.repeat(43), expiresMs: 60_000 }
  desk.take({ offer: id, name, ...file, ...more })
  return id
}
const lastWord = (id: string) => eventually('the last word', () => said.find((one) => one.offer === id))

test('a pool that sends a byte now and then is left when its ticket ends, and told so', async () => {
  dripMs = 20
  expect(await lastWord(offer(0, 'moss', { expiresMs: 300 }))).toMatchObject({ code: 'pool_unreachable' })
  expect(loaded).toEqual([])
})

test('a model that needs more memory than is free is not fetched, whatever the pool was told before', async () => {
  memory = memoryFor(1_000) - 1
  expect(await lastWord(offer(0, 'moss'))).toMatchObject({ code: 'overloaded' })
  expect([asked, readdirSync(folder.path)]).toEqual([0, []])
})

test('a model is not given up for one that there is no memory for either', async () => {
  await lastWord(offer(0, 'moss'))
  memory = 0
  const [digest = ''] = digests
  expect(await lastWord(offer(1, 'fern', { bytes: 2 ** 40, drop: [digest] }))).toMatchObject({ code: 'overloaded' })
  expect([ended, readdirSync(folder.path)]).toEqual([0, [`${digest}.gguf`, 'held.json']])
})

test('of a flood of offers the newest counts; those before it are neither fetched nor answered', async () => {
  const ids = Array.from({ length: 1_000 }, (_, n) => offer(n % 2, `moss-${n}`))
  expect(await lastWord(ids.at(-1) ?? '')).toMatchObject({ code: null })
  expect([asked, loaded, said.length]).toEqual([1, ['moss-999'], 1])
})

test('a file that is held already is lent by a second name without another copy, and both engines end with the worker', async () => {
  await lastWord(offer(0, 'moss'))
  expect(await lastWord(offer(0, 'fern'))).toMatchObject({ code: null })
  expect([asked, loaded]).toEqual([1, ['moss', 'fern']])
  await desk[Symbol.asyncDispose]()
  expect(ended).toBe(2)
})

test('a worker begins no more engines than it keeps models, however many it is offered', async () => {
  for (let n = 0; n < artifactsLimits.heldMax; n++) await lastWord(offer(n, `moss-${n}`))
  expect(await lastWord(offer(artifactsLimits.heldMax, 'one-more'))).toMatchObject({ code: 'overloaded' })
  expect(loaded).toHaveLength(artifactsLimits.heldMax)
})
