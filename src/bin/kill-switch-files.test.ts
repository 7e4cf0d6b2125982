import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { federationLimits } from '#federation'
import { systemRuntime } from '#runtime'
import { simulatedRuntime } from '../testkit/simulated-runtime.ts'
import { temporaryFolder } from '../testkit/temporary-folder.ts'
import { killSwitchFilesThere } from './kill-switch-files.ts'

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
