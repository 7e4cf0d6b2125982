import { symlinkSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { federationLimits } from '#federation'
import { systemRuntime } from '#runtime'
import { simulatedRuntime } from '../testkit/simulated-runtime.ts'
import { temporaryFolder } from '../testkit/temporary-folder.ts'
import { KillSwitchFiles, killSwitchFilesThere } from './kill-switch-files.ts'
import { binLimits } from './limits.ts'

const folder = temporaryFolder()
afterAll(() => folder[Symbol.dispose]())
const [first, second] = [path.join(folder.path, 'one'), path.join(folder.path, 'fed_disable')]

test('an operator switches federation off by a file and on by removing it, from one look to the next', async () => {
  expect(await killSwitchFilesThere([first, second], systemRuntime)).toEqual([])
  writeFileSync(second, '')
  expect(await killSwitchFilesThere([first, second], systemRuntime)).toEqual([{ path: second, isThere: true }])
  await rm(second)
  expect(await killSwitchFilesThere([first, second], systemRuntime)).toEqual([])
})

test('a path that cannot be looked at counts as there', async () => {
  writeFileSync(first, '')
  const belowAFile = path.join(first, 'fed_disable')
  expect(await killSwitchFilesThere([belowAFile], systemRuntime)).toEqual([{ path: belowAFile, isThere: false }])
  await rm(first)
})

test('a file system that does not answer in time counts as there, and leaves no timer', async () => {
  const runtime = simulatedRuntime()
  const answer = killSwitchFilesThere([first], runtime, () => new Promise(() => {}))
  runtime.advance(federationLimits.switchMsMax)
  expect(await answer).toEqual([{ path: first, isThere: false }])
  const gone = () => Promise.reject(Object.assign(new Error('gone'), { code: 'ENOENT' }))
  expect(await killSwitchFilesThere([first], runtime, gone)).toEqual([])
  expect(runtime.timers).toBe(0)
})

test('files on file systems of the machine itself are seen at once, from one look to the next; a link is followed with a deadline', async () => {
  const files = new KillSwitchFiles([first, second], systemRuntime, async () => 0xef53)
  await expect.poll(() => files.there() instanceof Promise).toBe(false)
  expect(files.there()).toEqual([])
  writeFileSync(second, '')
  expect(files.there()).toEqual([{ path: second, isThere: true }])
  await rm(second)
  expect(files.there()).toEqual([])
  symlinkSync('nowhere', second)
  expect(files.there()).toBeInstanceOf(Promise)
  expect(await files.there()).toEqual([])
  await rm(second)
  writeFileSync(first, '')
  const below = new KillSwitchFiles([path.join(first, 'fed_disable')], systemRuntime, async () => 0xef53)
  await expect.poll(() => below.there() instanceof Promise).toBe(false)
  expect(below.there()).toEqual([{ path: path.join(first, 'fed_disable'), isThere: false }])
  await rm(first)
})

test('where a file system may not answer, or is not known yet, nothing waits for it without an end', async () => {
  const nfs = 0x6969
  const runtime = simulatedRuntime()
  const folders: string[] = []
  let type = nfs
  const typeOf = async (folder: string) => {
    folders.push(folder)
    if (folder.endsWith('iamine')) throw Object.assign(new Error('not there'), { code: 'ENOENT' })
    return type
  }
  const files = new KillSwitchFiles([path.join(folder.path, 'iamine', 'fed_disable')], runtime, typeOf)
  const look = async () => {
    const there = files.there()
    expect(await there).toEqual([])
    return there instanceof Promise
  }
  expect([await look(), await look()]).toEqual([true, true])
  expect(folders).toEqual([path.join(folder.path, 'iamine'), folder.path])
  // the folder is on a disk of the machine by now
  type = 0xef53
  runtime.advance(binLimits.fileSystemsMs)
  await look()
  await expect.poll(look).toBe(false)
})
