import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporaryFolder } from '#testkit'
import { artifactsLimits, HeldModels } from './index.ts'

/** A worker's folder of fetched models, of which 1,000 bytes may be taken. */
let folder: ReturnType<typeof temporaryFolder>
let held: HeldModels

beforeEach(async () => {
  folder = temporaryFolder()
  held = await HeldModels.open(folder.path, 1_000)
})
afterEach(() => folder[Symbol.dispose]())

const digestOf = (n: number) => n.toString(16).padStart(64, '0')
const put = (n: number, bytes: number, kind = 'gguf') =>
  writeFileSync(path.join(folder.path, `${digestOf(n)}.${kind}`), Buffer.alloc(bytes))
const add = (n: number, name: string, bytes: number) => {
  put(n, bytes)
  return held.add({ name, digest: digestOf(n), bytes })
}
const files = () => readdirSync(folder.path).sort()

test('a file that was whole before its worker died and is on no list takes room, and goes before the next is fetched', async () => {
  await add(1, 'moss', 300)
  put(2, 500)
  expect(await held.roomBytes()).toBe(200)
  await held.clearOthers(digestOf(3))
  expect(await held.roomBytes()).toBe(700)
  expect(files()).toEqual([`${digestOf(1)}.gguf`, 'held.json'])
})

test('a list that cannot be read gives nobody more room than its owner gave', async () => {
  await add(1, 'moss', 900)
  writeFileSync(path.join(folder.path, 'held.json'), '[{')
  expect(await held.roomBytes()).toBe(100)
  await add(2, 'fern', 400)
  expect(files()).toEqual([`${digestOf(2)}.gguf`, 'held.json'])
})

test('another file of the same name takes the place of the first, which is deleted', async () => {
  await add(1, 'moss', 300)
  await add(2, 'moss', 400)
  expect(files()).toEqual([`${digestOf(2)}.gguf`, 'held.json'])
  expect(await held.roomBytes()).toBe(600)
})

test('what is beyond the count that is kept does not stay on the disk unnamed', async () => {
  for (let n = 0; n <= artifactsLimits.heldMax; n++) await add(n, `moss-${n}`, 1)
  expect(files()).toHaveLength(artifactsLimits.heldMax + 1)
  expect((await held.list()).map(({ name }) => name)).not.toContain('moss-0')
})

test('what broken fetches of other files left goes, and neither it nor a stranger counts as taken', async () => {
  put(1, 400, 'part')
  put(2, 400, 'part')
  writeFileSync(path.join(folder.path, 'notes.gguf'), Buffer.alloc(5_000))
  expect(await held.roomBytes()).toBe(1_000)
  await held.clearOthers(digestOf(1))
  expect(files()).toEqual([`${digestOf(1)}.part`, 'notes.gguf'])
})
