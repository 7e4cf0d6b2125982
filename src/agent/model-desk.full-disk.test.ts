import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ModelLibrary } from '#artifacts'
import { sha256 } from '#crypto'
import { type ModelOffered, messageType } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { demoOffer, eventually, PacedEngine, temporaryFolder } from '#testkit'
import { ApiDouble } from '../testkit/api-double.ts'
import { EngineSet } from './engine-set.ts'
import { ModelDesk } from './model-desk.ts'

/** A worker whose models lie on a small disk of their own, where this machine lets us mount one, and a pool with two files. */
const town = temporaryFolder()
const disk = path.join(town.path, 'disk')
mkdirSync(disk)
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=600m,mode=0700', 'tmpfs', disk]).status === 0
const [moss, fern] = [randomBytes(100_000), randomBytes(4_000_000)]
const digestOf = (bytes: Buffer) => sha256(bytes).toString('hex')
const engines = new EngineSet([], 'test', { info() {}, warn() {} })
const said: string[] = []
const warned: { code?: string }[] = []
let rooms: number[] = []
let library: ModelLibrary
let api: ApiDouble
let desk: ModelDesk
let asked = 0

const resize = (size: string) => {
  const { status, stderr } = spawnSync('mount', ['-o', `remount,size=${size}`, disk])
  if (status !== 0) throw new Error(String(stderr))
}

const used = () => {
  const { blocks, bfree, bsize } = statfsSync(disk)
  return (blocks - bfree) * bsize
}

function slowly(bytesPerSecond: number): void {
  const models = [moss, fern].map((bytes, n) => {
    const file = path.join(town.path, `${n}.gguf`)
    writeFileSync(file, bytes)
    return { name: `model-${n}`, path: file, digest: digestOf(bytes), bytes: bytes.length }
  })
  library = new ModelLibrary(models, { runtime, bytesPerSecond })
}

function take(name: string, bytes: Buffer, drop: string[] = []): void {
  const digest = digestOf(bytes)
  const ticket = library.tickets.issue('w', digest, bytes.length) ?? ''
  const offer = { offer: runtime.uuid(), name, digest, bytes: bytes.length, drop, ticket, expiresMs: 60_000 }
  desk.take(offer satisfies ModelOffered)
}

beforeAll(async () => {
  slowly(2 ** 40)
  const open: ModelLibrary['open'] = (...args) => {
    asked++
    return library.open(...args)
  }
  api = await ApiDouble.open({ modelFiles: { open } })
  desk = await ModelDesk.open({
    folder: disk,
    spaceBytes: 2 ** 30,
    memoryBytes: () => 2 ** 40,
    load: async (name, file) =>
      new PacedEngine({ runtime, pieces: [], offers: [{ ...demoOffer, name, digest: path.basename(file, '.gguf') }] }),
    engines,
    runtime,
    log: { info() {}, warn: (fields) => void warned.push(fields) },
    urlOf: (file) => `${api.url}/v1/workers/models/${file}`,
  })
  desk.opened({
    say: (type, body) => {
      const { code, diskBytes } = JSON.parse(body.toString())
      if (type === messageType.room) rooms.push(diskBytes)
      if (type === messageType.fetched) said.push(code ?? 'held')
    },
  })
})
afterAll(async () => {
  await desk[Symbol.asyncDispose]()
  await api[Symbol.asyncDispose]()
  if (mounted) spawnSync('umount', [disk])
  town[Symbol.dispose]()
})

const lastWord = (count: number) => eventually('the last word', () => said.length === count && said.at(-1))

test.runIf(mounted)(
  'a disk that fills in the middle of a fetch: what came is deleted, the pool and the owner are told, and what was lent is lent on',
  async () => {
    take('moss', moss)
    expect(await lastWord(1)).toBe('held')
    slowly(500_000)
    asked = 0
    take('fern', fern)
    const part = path.join(disk, `${digestOf(fern)}.part`)
    await eventually('some of it', () => existsSync(part) && statSync(part).size > 0)
    rooms = []
    resize(String(used() + 2 ** 19))
    expect(await lastWord(2)).toBe('disk_full')
    expect(asked, 'it does not try again').toBe(1)
    expect(warned.map(({ code }) => code)).toEqual(['disk_full'])
    expect(await eventually('what there is room for', () => rooms.length > 0 && rooms)).toEqual([0])
    expect(readdirSync(disk).sort()).toEqual([`${digestOf(moss)}.gguf`, 'held.json'].sort())
    expect(engines.hello().models).toMatchObject([{ name: 'moss' }])
  },
)

test.runIf(mounted)('on a full disk nothing is given up for a model that there is no room for even so', async () => {
  take('fern', fern, [digestOf(moss)])
  expect(await lastWord(3)).toBe('disk_full')
  expect(engines.hello().models).toMatchObject([{ name: 'moss' }])
})

test.runIf(mounted)(
  'a model for which there is room, and none to write down its name, is deleted and refused',
  async () => {
    resize('600m')
    const before = used()
    take('fern', fern)
    const part = path.join(disk, `${digestOf(fern)}.part`)
    await eventually('some of it', () => existsSync(part) && statSync(part).size > 0)
    resize(String(before + Math.ceil(fern.length / 4_096) * 4_096))
    expect(await lastWord(4)).toBe('disk_full')
    expect(readdirSync(disk).sort()).toEqual([`${digestOf(moss)}.gguf`, 'held.json'].sort())
    expect(engines.hello().models).toMatchObject([{ name: 'moss' }])
  },
)

test.runIf(mounted)('once there is room again the same model is taken in place of the other', async () => {
  resize('600m')
  slowly(2 ** 40)
  take('fern', fern, [digestOf(moss)])
  expect(await lastWord(5)).toBe('held')
  expect(engines.hello().models).toMatchObject([{ name: 'fern' }])
  expect(readdirSync(disk).sort()).toEqual([`${digestOf(fern)}.gguf`, 'held.json'].sort())
})
